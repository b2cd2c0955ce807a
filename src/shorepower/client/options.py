"""What may be said about a job besides the command: one struct for programs and the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from ..model.errors import Fault, InvalidRequest
from ..model.resources import parse_cpus, parse_duration, parse_gpus, parse_memory
from ..model.sizing import AUTO_FIELDS

__all__ = ["Options", "parse_size", "read_options"]


class Options(Struct, frozen=True, kw_only=True):
    """None, or empty, leaves it to the script's ``#SBATCH`` lines, the settings, the queue."""

    on: str | None = None
    """The cluster."""
    queue: str | None = None
    name: str | None = None
    cpus: float | None = None
    memory_mib: int | None = None
    wall_time_s: int | None = None
    gpus: tuple[int, str | None] | None = None
    auto: frozenset[str] = frozenset()
    """Amounts (of `shorepower.model.sizing.AUTO`) that what earlier runs used decides."""
    env: tuple[str, ...] = ()
    """``K=V``, or ``K`` to pass the caller's value on."""
    env_files: tuple[Path, ...] = ()
    secrets: tuple[str, ...] = ()
    """``NAME`` (from the caller's environment, or asked for) or ``NAME=@file``."""
    tags: Mapping[str, str] = {}
    data: tuple[str, ...] = ()
    """``PATH[=TARGET]``: never sent, linked."""
    include: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    project: Path | None = None
    workdir: str | None = None
    in_place: bool = False
    stdin: str | None = None
    """A file, or ``-`` for the caller's own."""
    array: str | None = None
    """Indices of tasks: ``0-99``, ``1-100:2``, ``1,5,9``, ``0-999%10``."""
    max_parallel: int | None = None
    grid: Mapping[str, tuple[str, ...]] = {}
    """Values of each parameter; a task for each combination."""
    array_file: Path | None = None
    """A task for each of its rows; ``-`` is the caller's own standard input."""
    max_send_bytes: int | None = None
    within_s: float | None = None
    after: tuple[str, ...] = ()
    """Names of jobs (``ID``, ``@name``, ``@-1``, ``ID_7``) that have to start before."""
    after_ok: tuple[str, ...] = ()
    """Those that have to complete before."""
    after_any: tuple[str, ...] = ()
    """Those that have to end before, in whatever way."""
    not_before: datetime | None = None
    """It does not start earlier; aware."""
    command: bool | None = None
    """True: the words are a command; False: the first is a script; None: whatever it is."""
    cwd: Path | None = None
    """Where the caller stands; None is the process's."""


_SHORT = {"memory": "memory_mib", "mem": "memory_mib", "time": "wall_time_s", "tag": "tags"}
_READ = {
    "cpus": parse_cpus,
    "memory_mib": parse_memory,
    "wall_time_s": parse_duration,
    "gpus": parse_gpus,
    "within_s": parse_duration,
}
_TUPLES = ("env_files", "secrets", "data", "include", "results")
_JOBS = ("after", "after_ok", "after_any")
_PATHS = ("project", "cwd", "array_file")


def read_options(given: Mapping[str, object]) -> Options:
    """Options of keyword arguments, where amounts may be written as on the command line (``"8G"``),
    ``env`` may be a mapping, and one path or glob need not be a list. Raises InvalidRequest."""
    fields: dict[str, object] = {}
    faults: list[Fault] = []
    for key, value in given.items():
        name = _SHORT.get(key, key)
        if name not in Options.__struct_fields__:
            from ..model.check import unknown

            faults.append(Fault(key, unknown("option", key, [*Options.__struct_fields__, *_SHORT])))
            continue
        if value == "auto" and name in AUTO_FIELDS:
            fields["auto"] = frozenset((AUTO_FIELDS[name],)) | fields.get("auto", frozenset())  # type: ignore[operator]
            continue
        try:
            fields[name] = _value(name, value)
        except ValueError as error:
            faults.append(Fault(key, f"{key}: {error}"))
    if faults:
        raise InvalidRequest(faults)
    return Options(**fields)  # type: ignore[arg-type]


def parse_size(text: str | int) -> int:
    """Bytes of ``2G``, ``500M`` or a bare number of MiB. Raises ValueError in words."""
    return parse_memory(str(text), "data") << 20


def _value(name: str, value: object) -> object:
    if isinstance(value, str) and name in _READ:
        return _READ[name](value)
    if name == "gpus" and isinstance(value, int):
        return value, None
    if name == "env" and isinstance(value, Mapping):
        return tuple(f"{key}={text}" for key, text in value.items())
    if name == "env_files" and isinstance(value, str | os.PathLike):
        return (Path(value),)
    if name in _JOBS:
        jobs = (value,) if isinstance(value, str) or hasattr(value, "id") else tuple(value)  # type: ignore[arg-type]
        return tuple(str(getattr(job, "id", job)) for job in jobs)
    if name == "not_before" and isinstance(value, str):
        from .order import parse_moment

        return parse_moment(value, datetime.now().astimezone())
    if name == "not_before" and isinstance(value, datetime) and value.tzinfo is None:
        return value.astimezone()
    if name in _TUPLES or name == "env":
        return (str(value),) if isinstance(value, str | os.PathLike) else tuple(value)  # type: ignore[arg-type]
    if name in ("array", "grid") and value is not None:
        from .arrays import array_text, grid_of

        return grid_of(value) if isinstance(value, Mapping) else array_text(value)
    if name in _PATHS and value is not None:
        return Path(str(value))
    return value
