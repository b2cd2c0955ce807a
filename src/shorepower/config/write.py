"""Change one key of a file and keep everything else of it: comments, order, blank lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from ..model.errors import Fault, InvalidRequest, StorageFault
from .check import check, parse

__all__ = ["remove_value", "set_value"]


def set_value(file: Path, key: Sequence[str], value: Any, *, project: bool = False) -> None:
    """Set ``key`` (its parts) in a file, which is made where it is missing (0600 but for a project's).

    Raises InvalidRequest, and changes nothing, when the file is wrong or would be; StorageFault.
    """
    document = _read(file)
    inner: Any = document
    for part in key[:-1]:
        below = inner.get(part)
        if below is None:
            below = inner[part] = tomlkit.table(is_super_table=part is not key[-2])
        if not isinstance(below, Table | dict):
            raise InvalidRequest([Fault(".".join(key), f"{file}: {part} is no table")])
        inner = below
    inner[key[-1]] = value
    _write(file, tomlkit.dumps(document), project=project)


def remove_value(file: Path, key: Sequence[str], *, project: bool = False) -> bool:
    """Take a key away; False when it was not there. Tables that are empty then go with it."""
    document = _read(file)
    tables: list[Any] = [document]
    for part in key[:-1]:
        below = tables[-1].get(part)
        if not isinstance(below, Table | dict):
            return False
        tables.append(below)
    if key[-1] not in tables[-1]:
        return False
    del tables[-1][key[-1]]
    for above, part, table in zip(tables[-2::-1], key[-2::-1], tables[:0:-1], strict=True):
        if not table:
            del above[part]
    _write(file, tomlkit.dumps(document), project=project)
    return True


def _read(file: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(file.read_bytes().decode())
    except FileNotFoundError:
        return tomlkit.document()
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise InvalidRequest(
            [Fault(str(file), f"{file} is no TOML, so nothing was changed: {error}")]
        ) from None
    except OSError as error:
        raise StorageFault(f"{file} cannot be read: {error.strerror}") from None


def _write(file: Path, text: str, *, project: bool) -> None:
    """Replace the file in one step; a symbolic link stays one."""
    if faults := check(parse(text, str(file)), str(file), project=project):
        raise InvalidRequest(faults)
    real = Path(os.path.realpath(file))
    new = real.with_name(f".{real.name}.{os.getpid()}.new")
    try:
        real.parent.mkdir(mode=0o755 if project else 0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o644 if project else 0o600)
        with os.fdopen(descriptor, "wb") as out:
            if real.exists():
                os.fchmod(descriptor, real.stat().st_mode & 0o777)
            out.write(text.encode())
            out.flush()
            os.fsync(out.fileno())
        new.replace(real)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StorageFault(f"{file} cannot be written: {error.strerror}; nothing was changed") from None
