"""Records of values, taken out of bytes that arrive in pieces. No I/O.

Large buffers are received into the memory that the value will use, and a pickle's own bytes are let go
of while it is loaded: a value of 1 GB takes 1 GB. The format: ``travelling/shore_runner.py``.
"""

from __future__ import annotations

import pickle
from collections import deque
from typing import Any

import msgspec
from msgspec import Struct

from ...model.errors import ShorepowerError

__all__ = ["BadRecords", "Record", "RecordReader"]

_HEAD_BYTES = 4 << 20
"""Of one line; it holds the size of each buffer."""
_LARGE_BYTES = 1 << 20
_PART_BYTES = 64 << 20
"""Memory of this size goes back to the system as soon as it is let go of. Source: mallopt(3), on
M_MMAP_THRESHOLD, which never grows beyond 32 MiB."""
_GOOD, _VOID = b"\nx"


class BadRecords(ShorepowerError):
    """What a job appended to its file of values is not what a runner of ours writes."""


class _Head(Struct, frozen=True):
    item: int
    kind: str
    size: int
    sizes: tuple[int, ...] = ()
    runtime: str = ""
    of: str = "call"
    """``call`` or ``map``."""


_heads = msgspec.json.Decoder(_Head)


class _Parts:
    """The bytes of a pickle as a file that is written once and read once; what was read is let go of."""

    def __init__(self, size: int) -> None:
        self._missing = size
        self._parts: deque[bytearray] = deque()
        self._filled = 0
        """Of the last part."""
        self._at = 0
        """How much of the first part was read."""

    def add(self, data: memoryview) -> None:
        """The next bytes."""
        while len(data):
            if not self._parts or self._filled == len(self._parts[-1]):
                self._parts.append(bytearray(min(_PART_BYTES, self._missing)))
                self._missing -= len(self._parts[-1])
                self._filled = 0
            last = self._parts[-1]
            taken = data[: len(last) - self._filled]
            last[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            data = data[len(taken) :]

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        done = 0
        while done < len(view) and self._parts:
            first = self._parts[0]
            taken = memoryview(first)[self._at : self._at + len(view) - done]
            view[done : done + len(taken)] = taken
            done += len(taken)
            self._at += len(taken)
            if self._at == len(first):
                self._parts.popleft()
                self._at = 0
        return done

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            size = sum(map(len, self._parts)) - self._at
        if self._parts and len(self._parts[0]) - self._at > size:
            self._at += size
            return bytes(memoryview(self._parts[0])[self._at - size : self._at])
        data = bytearray(size)
        return bytes(data[: self.readinto(data)])

    def readline(self) -> bytes:
        """Only what opcodes of the oldest protocols are followed by."""
        line = bytearray()
        while not line.endswith(b"\n") and (data := self.read(1)):
            line += data
        return bytes(line)


class Record:
    """One whole record."""

    def __init__(self, head: _Head, sizes: tuple[int, ...]) -> None:
        self.item, self.kind, self.of, self.runtime = head.item, head.kind, head.of, head.runtime
        self.size_bytes = head.size
        """Of everything in it."""
        self._sizes = sizes
        self._whole: bytes | None = None
        """The pickle, where it came in one piece."""
        self._pickle = _Parts(sizes[0])
        self._rest = [bytearray(size) for size in sizes[1:]]

    def unpickle(self) -> Any:
        """The object; once. Raises whatever its unpickling raises."""
        if not self._sizes[0]:
            raise pickle.UnpicklingError("there is no pickle")
        if self._sizes[0] < _LARGE_BYTES:
            whole = self._whole if self._whole is not None else self._pickle.read()
            return pickle.loads(whole, buffers=self._rest)
        return pickle.Unpickler(self._pickle, buffers=self._rest).load()  # type: ignore[arg-type]

    def told(self) -> dict[str, Any]:
        """The JSON that stands behind the pickle of an error, or alone. Raises BadRecords."""
        text = self._rest[-1] if self._rest else self._whole or self._pickle.read()
        try:
            return msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise BadRecords(f"a record of kind {self.kind!r} holds no JSON: {error}") from None

    def take(self, at: int, data: memoryview) -> None:
        """Bytes that stand ``at`` so far into the record."""
        start = self._sizes[0]
        if len(data) == start < _LARGE_BYTES and not at:
            self._whole = bytes(data)
        elif at < start:
            self._pickle.add(data[: start - at])
        for buffer in self._rest:
            low, high = max(at, start), min(at + len(data), start + len(buffer))
            if low < high:
                buffer[low - start : high - start] = data[low - at : high - at]
            start += len(buffer)


class RecordReader:
    """Takes records out of one task's log."""

    def __init__(self) -> None:
        self.offset = 0
        """How much was fed."""
        self._line = b""
        self._record: Record | None = None
        self._have = self._size = 0

    def feed(self, data: bytes, offset: int | None = None) -> list[Record]:
        """The records that these bytes complete. ``offset``: where they stand in the log, if that may not
        be where this reader is, because the task began anew. Raises BadRecords."""
        if offset is not None and offset != self.offset:
            if offset:
                raise BadRecords(f"values were read up to {self.offset}, and go on at {offset}")
            self.offset, self._line, self._record = 0, b"", None
        self.offset += len(data)
        found: list[Record] = []
        view, at = memoryview(data), 0
        while at < len(data):
            at = self._read_line(data, at) if self._record is None else self._read_body(view, at, found)
        return found

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end
        if len(self._line) + stop - at > _HEAD_BYTES:
            raise BadRecords(f"a record's head has at most {_HEAD_BYTES} bytes")
        if end < 0:
            self._line += data[at:]
            return len(data)
        line, self._line = self._line + data[at:end], b""
        if not line.endswith(b"!"):  # one that was cut, and then given up
            self._begin(line)
        return end + 1

    def _begin(self, line: bytes) -> None:
        try:
            head = _heads.decode(line)
        except msgspec.DecodeError as error:
            raise BadRecords(f"a record's head cannot be read: {error}") from None
        sizes = head.sizes or (head.size,)
        if min(sizes) < 0 or sum(sizes) != head.size:
            raise BadRecords("the sizes of a record do not fit together")
        self._record, self._have, self._size = Record(head, sizes), 0, head.size

    def _read_body(self, view: memoryview, at: int, found: list[Record]) -> int:
        assert self._record is not None
        taken = view[at : at + self._size - self._have]
        self._record.take(self._have, taken)
        self._have += len(taken)
        at += len(taken)
        if at == len(view):
            return at
        mark = view[at]
        if mark == _GOOD:
            found.append(self._record)
        elif mark != _VOID:
            raise BadRecords("a record does not end where its head says")
        self._record = None
        return at + 1
