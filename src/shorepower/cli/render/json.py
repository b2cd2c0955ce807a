"""The ``--json`` of commands: the structs of ``/v1``, one document or one object a line."""

from __future__ import annotations

import base64
import codecs
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from ...model.job import Job
from ...model.output import OutputPiece, Stream

__all__ = ["OutputLines", "document", "line"]


def document(value: Any) -> None:
    """One whole answer on stdout."""
    _write(msgspec.json.encode(value))


def line(type_: str, **fields: Any) -> None:
    """One object of a stream on stdout."""
    _write(msgspec.json.encode({"v": 1, "type": type_, **fields}))


def job_line(job: Job) -> None:
    """How a job stands now."""
    line("job", job=job)


def end_line(job: Job, **fields: Any) -> None:
    """The last line of a job, with all of it."""
    line("end", job=job, **fields)


class OutputLines:
    """Output as lines of JSON. A letter that two pieces share is held back until it is whole, so that text
    stays text."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._held: dict[tuple[Stream, int, int], tuple[int, bytes]] = {}

    def lines(self, piece: OutputPiece) -> Iterator[dict[str, Any]]:
        """The objects to print for one piece."""
        key = (piece.stream, piece.task, piece.attempt)
        if piece.kind == "gap":
            yield from self._flush(key)
            yield self._object("gap", key, piece.offset, missing_bytes=piece.missing_bytes)
            return
        if piece.kind != "output":
            for known in list(self._held):
                yield from self._flush(known)
            return
        offset, held = self._held.pop(key, (piece.offset, b""))
        if held and offset + len(held) != piece.offset:
            yield self._output(key, offset, held)
            offset, held = piece.offset, b""
        data = held + piece.data
        rest = _unfinished(data)
        if rest:
            self._held[key] = (offset + len(data) - len(rest), rest)
            data = data[: -len(rest)]
        if data:
            yield self._output(key, offset, data)

    def print(self, piece: OutputPiece) -> None:
        """Print them."""
        for fields in self.lines(piece):
            _write(msgspec.json.encode(fields))

    def _flush(self, key: tuple[Stream, int, int]) -> Iterator[dict[str, Any]]:
        if key in self._held:
            offset, held = self._held.pop(key)
            yield self._output(key, offset, held)

    def _output(self, key: tuple[Stream, int, int], offset: int, data: bytes) -> dict[str, Any]:
        try:
            return self._object("output", key, offset, text=data.decode())
        except UnicodeDecodeError:
            return self._object("output", key, offset, base64=base64.b64encode(data).decode())

    def _object(self, type_: str, key: tuple[Stream, int, int], offset: int, **more: Any) -> dict[str, Any]:
        stream, task, attempt = key
        place = {"job": self._job, "stream": stream, "task": task, "attempt": attempt, "offset": offset}
        return {"v": 1, "type": type_, **place, **more}


def _unfinished(data: bytes) -> bytes:
    """The bytes at the end that may be the beginning of one more letter."""
    tail = data[-3:]
    for length in range(len(tail), 0, -1):
        part = tail[-length:]
        if part[0] < 0xC0:
            continue
        try:
            if codecs.getincrementaldecoder("utf-8")().decode(part) == "":
                return part
        except UnicodeDecodeError:
            return b""
    return b""


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()
