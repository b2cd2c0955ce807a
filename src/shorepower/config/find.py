"""Find the files, merge them with the environment and the flags, and say where each value comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..client.settings import places_of
from ..model.check import unknown
from ..model.errors import Fault, InvalidRequest
from .check import check, leaves, parse
from .schema import ENVIRONMENT, Document

__all__ = ["PROJECT_FILE", "SYSTEM_FILE", "Config", "load"]

SYSTEM_FILE = Path("/etc/shorepower/config.toml")
PROJECT_FILE = "shore.toml"
_PLACES = ("SHORE_STATE_DIR", "SHORE_SERVER", "SHORE_TOKEN", "SHORE_DEBUG")
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Config(Struct, frozen=True, kw_only=True):
    """Everything merged."""

    document: Document = Document()
    origins: Mapping[str, str] = {}
    """Dotted key → the file, variable or flag that set it."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: what was not heeded, and why."""


def load(
    environ: Mapping[str, str] = os.environ,
    *,
    project: Path | None = None,
    flags: Mapping[str, Any] = {},
    system_file: Path = SYSTEM_FILE,
) -> Config:
    """Read and merge, the strongest last: /etc, the user's file, the project's, the environment, flags.

    ``flags`` maps dotted keys to values. Raises InvalidRequest with every fault of every file at once.
    """
    merging = _Merging()
    merging.file(system_file, system=True)
    merging.file(places_of(environ).config_file)
    if project is not None:
        merging.file(project / PROJECT_FILE, project=True)
    merging.environment(environ)
    merging.flags(flags)
    return merging.result()


class _Merging:
    def __init__(self) -> None:
        self._table: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        self._faults: list[Fault] = []
        self._notes: list[str] = []
        self._locked: dict[str, str] = {}
        """Key → the file that locks it."""

    def file(self, path: Path, *, project: bool = False, system: bool = False) -> None:
        """Add one file; a missing one is nothing."""
        try:
            table = parse(path.read_bytes().decode(), str(path))
        except (FileNotFoundError, NotADirectoryError):
            return
        except UnicodeDecodeError:
            self._faults.append(Fault(str(path), f"{path} is not UTF-8"))
            return
        except OSError as error:
            self._faults.append(Fault(str(path), f"{path} cannot be read: {error.strerror}"))
            return
        except ValueError as error:
            self._faults.append(Fault(str(path), str(error)))
            return
        faults = check(table, str(path), project=project, system=system)
        self._faults += faults
        if faults:
            return
        locks = table.pop("lock", ())
        self._add(table, str(path))
        self._locked |= dict.fromkeys(locks, str(path))

    def environment(self, environ: Mapping[str, str]) -> None:
        """Add what the variables say."""
        for variable, text in environ.items():
            if not variable.startswith("SHORE_") or variable in _PLACES or not text:
                continue
            key = ENVIRONMENT.get(variable)
            if key is None:
                self._notes.append(unknown("variable", variable, [*ENVIRONMENT, *_PLACES]))
                continue
            self._single(key, _spelled(key, text), variable)

    def flags(self, flags: Mapping[str, Any]) -> None:
        """Add flags; one that is locked is a fault."""
        for key, value in flags.items():
            if key in self._locked:
                told = self._value(key)
                self._faults.append(
                    Fault(key, f"{key} is {told!r} by {self._locked[key]} and cannot be changed")
                )
            else:
                self._single(key, value, "a flag")

    def result(self) -> Config:
        """Everything. Raises InvalidRequest."""
        if self._faults:
            raise InvalidRequest(self._faults)
        document = msgspec.convert(self._table, Document)
        document = msgspec.structs.replace(document, lock=tuple(self._locked))
        return Config(document=document, origins=self._origins, notes=tuple(self._notes))

    def _single(self, key: str, value: Any, origin: str) -> None:
        table: dict[str, Any] = {}
        inner = table
        *above, last = key.split(".")
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
        faults = check(table, origin)
        self._faults += faults
        if not faults:
            self._add(table, origin)

    def _add(self, table: Mapping[str, Any], origin: str) -> None:
        for path, value in leaves(table):
            key = ".".join(path)
            if key in self._locked:
                if self._value(key) != value:
                    self._notes.append(f"{origin} sets {key}, which {self._locked[key]} has locked")
                continue
            self._put(path, value, origin)

    def _put(self, path: tuple[str, ...], value: Any, origin: str) -> None:
        inner = self._table
        for part in path[:-1]:
            below = inner.get(part)
            if not isinstance(below, dict):
                below = inner[part] = {}
            inner = below
        inner[path[-1]] = value
        self._origins[".".join(path)] = origin

    def _value(self, key: str) -> Any:
        found: Any = self._table
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return found


def _spelled(key: str, text: str) -> Any:
    """A variable's text as a file would hold it; what cannot be read stays text, and is then a fault."""
    if key == "run.pass_env":
        return text.replace(",", " ").split()
    if key in ("limits.autostart", "run.send_ignored"):
        return True if text.lower() in _YES else False if text.lower() in _NO else text
    if key in ("run.cpus", "server.idle_minutes"):
        try:
            return float(text)
        except ValueError:
            return text
    return text
