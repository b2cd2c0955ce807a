"""What is wrong with one file, everything at once. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from ..client.settings import RunDefaults
from ..model.check import unknown
from ..model.errors import Fault
from ..wire.fields import faults_in, unknown_in
from .schema import PROJECT_KEYS, VALUES, Document, LimitsTable, ServerTable

__all__ = ["check", "leaves", "parse"]


def parse(text: str, file: str) -> dict[str, Any]:
    """The tables of a file. Raises ValueError with where it is no TOML."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is no TOML: {error}") from None


def check(
    table: Mapping[str, Any], file: str, *, project: bool = False, system: bool = False
) -> list[Fault]:
    """Every fault of one file, each with its key and the file's name."""
    found = [(fault.field, fault.message) for fault in faults_in(table, Document)]
    for strange in unknown_in(table, Document):
        known = PROJECT_KEYS if project and strange.field == strange.key else strange.known
        found.append((strange.field, unknown("key", strange.key, known)))
    wrong = {key for key, _ in found}
    for path, value in leaves(table):
        key = ".".join(path)
        if key not in wrong and (message := _nonsense(path, value)):
            found.append((key, message))
    if project:
        found += [
            (key, f"a project's file holds {', '.join(PROJECT_KEYS)} only")
            for key in table
            if key in Document.__struct_fields__ and key not in PROJECT_KEYS
        ]
    elif "lock" in table and not system:
        found.append(("lock", "only /etc/shorepower/config.toml locks keys"))
    if system and isinstance(table.get("lock"), list):
        found += [("lock", message) for message in _bad_locks(table["lock"])]
    return [Fault(key, f"{file}: {key}: {message}") for key, message in found]


def leaves(table: Mapping[str, Any], *above: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(names that lead there, value) of everything that is no table."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, *above, name)
        else:
            yield (*above, name), value


def _nonsense(path: tuple[str, ...], value: Any) -> str:
    """Why a value of the right type makes no sense; empty when it does."""
    pattern = ".".join((path[0], "*", *path[2:])) if path[0] == "clusters" else ".".join(path)
    judge = VALUES.get(pattern)
    try:
        if judge is not None:
            judge(value)
    except (ValueError, TypeError) as error:
        return str(error)
    if pattern == "clusters.*.type" and (path[1] == "local") != (value == "local"):
        return "the one cluster of type 'local' is named local: there is one machine"
    return ""


def _bad_locks(keys: list[Any]) -> Iterator[str]:
    tables = {"run": RunDefaults, "limits": LimitsTable, "server": ServerTable}
    known = [f"{name}.{field}" for name, kind in tables.items() for field in kind.__struct_fields__]
    for key in keys:
        if key not in known:
            yield unknown("key", str(key), known)
