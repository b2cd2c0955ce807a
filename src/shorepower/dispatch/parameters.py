"""What the grid or the array file of a job says for each of its tasks. Blocking."""

from __future__ import annotations

import os
import re
import shlex
from array import array
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import Struct

from ..model.array import ArraySpec
from ..model.decoding import json_decoder
from ..model.errors import InvalidRequest
from ..model.parameters import parameter_fault

__all__ = ["Given", "Parameters"]

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TABLES = 4
"""So many tables of rows are kept in memory: where each line begins, 8 bytes a row."""


class Given(Struct, frozen=True, kw_only=True):
    """What tells one task from the others, beside its index. A row of an array file is one of these."""

    env: dict[str, str] = {}
    args: tuple[str, ...] = ()
    command: str | None = None

    @property
    def told(self) -> dict[str, str]:
        """For people and tables: the values by name, or the arguments or the command as one line."""
        if self.command is not None:
            return {**self.env, "command": self.command}
        return {**self.env, "args": shlex.join(self.args)} if self.args else self.env

    @property
    def document(self) -> bytes:
        """For programs: the JSON object that ``SHOREPOWER_INPUT`` names; empty when there is nothing."""
        document: dict[str, object] = {**self.env}
        if self.args:
            document["args"] = self.args
        if self.command is not None:
            document["command"] = self.command
        return msgspec.json.encode(document) if document else b""

    def argv(self, argv: Iterable[str]) -> tuple[str, ...]:
        """What runs: ``{name}`` of a parameter is its value, every other brace stays as it is."""
        if self.command is not None:
            return ("sh", "-c", self.command)
        return (*(self._filled(word) for word in argv), *self.args)

    def _filled(self, word: str) -> str:
        if "{" not in word or not self.env:
            return word
        return _PLACE.sub(lambda place: self.env.get(place[1], place[0]), word)


class Parameters:
    """Those of one array, by index; any thread."""

    def __init__(self, array: ArraySpec, rows: Path) -> None:
        """``rows`` is where the table of an array file lies once the job is laid out."""
        self._array, self._rows = array, rows

    def of(self, index: int) -> Given:
        """Raises InvalidRequest (nothing is said for that index, or nothing that can be used), OSError."""
        if self._array.rows:
            return self._row(index)
        if not self._array.grid:
            return Given()
        try:
            return Given(env=dict(self._array.combination(index)))
        except IndexError as error:
            raise InvalidRequest(f"task {index} has no parameters: {error}") from None

    def told(self, index: int) -> Mapping[str, str]:
        """See `Given.told`; nothing while the job is not laid out, or when that is gone again."""
        try:
            return self.of(index).told
        except (InvalidRequest, OSError):
            return {}

    def _row(self, index: int) -> Given:
        fd = os.open(self._rows, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            starts = _starts(str(self._rows), status.st_mtime_ns, status.st_size)
            if not 0 <= index < len(starts) - 1:
                raise InvalidRequest(f"task {index} has no row: the array file has {len(starts) - 1}")
            line = os.pread(fd, starts[index + 1] - starts[index], starts[index])
        finally:
            os.close(fd)
        try:
            row = _decoder().decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidRequest(f"row {index} of the array file cannot be read") from None
        if told := next(filter(None, map(_fault, row.env)), ""):
            raise InvalidRequest(f"row {index} of the array file: {told}")
        if any("\0" in word for word in (*row.env.values(), *row.args, row.command or "")):
            raise InvalidRequest(f"row {index} of the array file: a value holds a NUL byte")
        return row


@lru_cache(maxsize=_TABLES)
def _starts(path: str, mtime_ns: int, size: int) -> array[int]:
    """Where each line of a table begins, and where the last one ends."""
    starts, at = array("Q", [0]), 0
    with open(path, "rb", buffering=1 << 20) as file:
        for line in file:
            at += len(line)
            starts.append(at)
    return starts


def _decoder() -> msgspec.json.Decoder[Given]:
    return json_decoder(Given)


_fault = lru_cache(maxsize=256)(parameter_fault)
