"""The rows of an array file, a task each: read with every fault at once, kept as JSON lines.

By its suffix a file is CSV (``.csv``, ``.tsv``: values of parameters under their names), JSON (``.json`` a
list, ``.jsonl`` a row a line: lists are arguments, objects parameters, strings whole commands), or else
plain lines: arguments as a shell splits them, or whole commands where nothing else is given to run.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from ..model.array import MOST_TASKS
from ..model.errors import Fault, InvalidRequest
from ..model.parameters import parameter_fault
from ..model.resources import counted
from ..model.tree import CHUNK_BYTES, digest_of
from .names import shown

__all__ = ["Blob", "Row", "Rows", "read_rows"]

_MOST_FAULTS = 20
"""So many lines are named; a file of the wrong kind is wrong in each."""
_WORD_BYTES = 128 << 10  # Source: execve(2), MAX_ARG_STRLEN, one argument or variable.
_BLANKS = " \t\r\n"

Row = dict[str, Any]
"""``{"args": [...]}``, ``{"env": {...}}`` or ``{"command": "..."}``."""


class Blob(Struct, frozen=True):
    """One piece of the table; it ends with a line."""

    digest: str
    offset: int
    size: int


class Rows(Struct, frozen=True, kw_only=True):
    """A table as it is sent."""

    file: BinaryIO
    """JSON lines, in a file without a name."""
    blobs: tuple[Blob, ...]
    count: int
    kind: str
    """``args``, ``env`` or ``command``."""

    def first(self, count: int) -> list[Row]:
        """The first rows."""
        self.file.seek(0)
        return [msgspec.json.decode(line) for line in islice(self.file, count)]

    def row(self, index: int) -> Row:
        """One row."""
        self.file.seek(0)
        return msgspec.json.decode(next(islice(self.file, index, None)))


def read_rows(file: BinaryIO, name: str, *, whole_commands: bool) -> Rows:
    """The table of an array file. ``whole_commands``: nothing else was given to run. Raises InvalidRequest
    with every fault, each naming the file and the line."""
    faults = _Faults(name)
    suffix = name.rpartition("/")[2].lower().rpartition(".")[2]
    reader = _READERS.get(suffix, _lines)
    kept = TemporaryFile()  # noqa: SIM115 - it lives until the job was submitted
    writer = _Writer(kept)
    kind = ""
    for line, row in reader(_Text(file), faults, whole_commands):
        if not kind:
            kind = next(iter(row))
            if told := _misplaced(kind, whole_commands):
                faults.add(line, told)
                break
        if kind not in row:
            faults.add(line, f"{_CALLED[next(iter(row))]}, but the file began with {_CALLED[kind]}")
        elif writer.count == MOST_TASKS:
            faults.add(line, f"there are more tasks than one job may have ({MOST_TASKS:,})")
            break
        elif told := _unfit(row):
            faults.add(line, told)
        else:
            writer.add(row)
    if not (writer.count or faults.count):
        faults.add(None, "it holds no tasks")
    faults.check()
    return Rows(file=kept, blobs=writer.finish(), count=writer.count, kind=kind)


_CALLED = {"args": "arguments", "env": "values of parameters", "command": "a whole command"}


def _misplaced(kind: str, whole_commands: bool) -> str:
    if kind == "command" and not whole_commands:
        return (
            "this is a whole command (a string), but a script or command is given as well: leave that out, "
            "or write a list of its arguments"
        )
    if kind != "command" and whole_commands:
        return f"it gives {_CALLED[kind]}, but nothing is given to run: name a script or command"
    return ""


def _unfit(row: Row) -> str:
    """Why no program can be given this."""
    for word in _words(row):
        if "\0" in word:
            return "an argument cannot hold a NUL byte"
        try:
            long = len(word) > _WORD_BYTES // 4 and len(word.encode()) >= _WORD_BYTES
        except UnicodeEncodeError:
            return "this is not UTF-8"
        if long:
            return "one value is over 128 KiB; put it into a file and name that"
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            return "this is not UTF-8"
    return ""


def _words(row: Row) -> Iterable[str]:
    if "args" in row:
        return row["args"]
    return row["env"].values() if "env" in row else (row["command"],)


class _Faults:
    """What is wrong, up to a number of lines."""

    def __init__(self, name: str) -> None:
        self._name, self._kept = name, list[Fault]()
        self._names: set[str] = set()
        self.count = 0

    def add(self, line: int | None, message: str) -> None:
        self.count += 1
        if self.count <= _MOST_FAULTS:
            place = shown(self._name) + (f", line {line}" if line else "")
            self._kept.append(Fault("--array-file", f"--array-file {place}: {message}"))

    def names(self, line: int, names: Iterable[str]) -> bool:
        """Whether these can be parameters; each bad name is told once."""
        good = True
        for name in names:
            if told := parameter_fault(name):
                good = False
                if name not in self._names:
                    self._names.add(name)
                    self.add(line, told)
        return good

    def check(self) -> None:
        if self.count > _MOST_FAULTS:
            more = f"--array-file {shown(self._name)}: {self.count - _MOST_FAULTS} more lines are wrong"
            self._kept.append(Fault("--array-file", more))
        if self._kept:
            raise InvalidRequest(self._kept)


class _Writer:
    """Rows as JSON lines, in pieces that end with a line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._encoder = file, msgspec.json.Encoder()
        self._piece, self._blobs, self._offset = bytearray(), list[Blob](), 0
        self.count = 0

    def add(self, row: Row) -> None:
        line = self._encoder.encode(row) + b"\n"
        if len(self._piece) + len(line) > CHUNK_BYTES:
            self._flush()
        self._piece += line
        self.count += 1

    def finish(self) -> tuple[Blob, ...]:
        self._flush()
        return tuple(self._blobs)

    def _flush(self) -> None:
        if self._piece:
            data = bytes(self._piece)
            self._file.write(data)
            self._blobs.append(Blob(digest_of(data), self._offset, len(data)))
            self._offset += len(data)
            self._piece.clear()


class _Text:
    """The lines of a file, numbered; bytes that are not UTF-8 are kept as such, to be told by line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> Iterator[str]:
        mark = "\ufeff"
        for line in self._file:
            text = line.decode("utf-8", "surrogateescape")
            yield text.removeprefix(mark)
            mark = "\0"

    def whole(self) -> str:
        return "".join(self)


Reader = Callable[[_Text, _Faults, bool], Iterator[tuple[int, Row]]]


def _lines(text: _Text, faults: _Faults, whole_commands: bool) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text, 1):
        line = line.strip(_BLANKS)
        if not line:
            continue
        if whole_commands:
            yield number, {"command": line}
            continue
        try:
            yield number, {"args": _split(line)}
        except ValueError as error:
            faults.add(number, f"{str(error).lower()}; quote as in a shell")


def _split(line: str) -> list[str]:
    """As a shell would. Raises ValueError."""
    if re.search(r"['\"\\]", line):
        return shlex.split(line)
    return re.findall(rf"[^{_BLANKS}]+", line)


def _csv(
    text: _Text, faults: _Faults, whole_commands: bool, delimiter: str = ","
) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    names: list[str] = []
    start = 1
    try:
        for values in reader:
            line, start = start, reader.line_num + 1
            if not any(values):
                continue
            if not names:
                names = [name.strip() for name in values]
                if not _header(line, names, faults):
                    return
            elif len(values) != len(names):
                faults.add(line, f"{counted(len(values), 'value')} for {counted(len(names), 'column')}")
            else:
                yield line, {"env": dict(zip(names, values, strict=True))}
    except csv.Error as error:
        faults.add(start, f"this is no CSV: {error}")


def _header(line: int, names: list[str], faults: _Faults) -> bool:
    good = faults.names(line, names)
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        faults.add(line, f"the column {name!r} is there twice")
        good = False
    return good


def _tsv(text: _Text, faults: _Faults, whole_commands: bool) -> Iterator[tuple[int, Row]]:
    return _csv(text, faults, whole_commands, "\t")


class _Number(str):
    """A number, or another constant, as it is spelled."""


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number)


def _json_lines(text: _Text, faults: _Faults, whole_commands: bool) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            faults.add(number, f"this is no JSON: {_plain(error)}")
            continue
        yield from _json_row(number, value, faults)


def _json(text: _Text, faults: _Faults, whole_commands: bool) -> Iterator[tuple[int, Row]]:
    """A list, decoded entry by entry, so that each fault has a line."""
    whole = text.whole()
    at = _past_blanks(whole, 0)
    line, seen = 1, 0
    if whole[at : at + 1] != "[":
        faults.add(
            1, "it has to be a list: of lists (arguments), objects (parameters) or strings (commands)"
        )
        return
    at = _past_blanks(whole, at + 1)
    while whole[at : at + 1] != "]":
        line, seen = line + whole.count("\n", seen, at), at
        try:
            value, at = _DECODER.raw_decode(whole, at)
        except (ValueError, RecursionError) as error:
            faults.add(line, f"this is no JSON: {_plain(error)}")
            return
        yield from _json_row(line, value, faults)
        at = _past_blanks(whole, at)
        if whole[at : at + 1] == ",":
            at = _past_blanks(whole, at + 1)
        elif whole[at : at + 1] != "]":
            faults.add(line + whole.count("\n", seen, at), "a comma or the end of the list is missing")
            return
    if whole[at + 1 :].strip():
        faults.add(line, "something follows the end of the list")


def _past_blanks(text: str, at: int) -> int:
    found = re.compile(rf"[{_BLANKS}]*").match(text, at)
    return found.end() if found else at


def _plain(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deep"


def _json_row(line: int, value: Any, faults: _Faults) -> Iterator[tuple[int, Row]]:
    if isinstance(value, list) and all(map(_is_scalar, value)):
        yield line, {"args": [_spelled(one) for one in value]}
    elif isinstance(value, dict):
        empty = [name for name, one in value.items() if one is None]
        if empty:
            faults.add(line, f"{shown(empty[0])} is null, which no variable can hold")
        elif faults.names(line, value):
            yield line, {"env": {name: _spelled(one) for name, one in value.items()}}
    elif isinstance(value, str) and not isinstance(value, _Number) and value.strip():
        yield line, {"command": value}
    else:
        faults.add(line, "a task is a list of arguments, an object of parameters, or a command as a string")


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | bool)


def _spelled(value: Any) -> str:
    """As it was written; what is nested, as JSON."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(_bare(value), separators=(",", ":"), ensure_ascii=False)


def _bare(value: Any) -> Any:
    """Nested values, with numbers as numbers again."""
    if isinstance(value, _Number):
        return json.loads(value)
    if isinstance(value, Mapping):
        return {name: _bare(one) for name, one in value.items()}
    return [_bare(one) for one in value] if isinstance(value, list) else value


_READERS: dict[str, Reader] = {
    "csv": _csv,
    "tsv": _tsv,
    "json": _json,
    "jsonl": _json_lines,
    "ndjson": _json_lines,
}
