"""The ``--json`` of commands: the structs of ``/v1``, one document or one object a line."""

from __future__ import annotations

import base64
import codecs
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from ...model.job import Job, Progress
from ...model.names import storable
from ...model.output import OutputPiece, Stream

if TYPE_CHECKING:
    from ...wire.lines import GapLine, Home, OutputLine

__all__ = ["OutputLines", "document", "end_line", "job_line", "line", "progress_line"]


def document(value: Any) -> None:
    """One whole answer on stdout."""
    _write(_encoded(value))


def line(one: msgspec.Struct) -> None:
    """One object of a stream on stdout: one of `wire.lines`."""
    _write(_encoded(one))


def job_line(job: Job) -> None:
    """How a job stands now."""
    from ...wire.lines import JobLine

    line(JobLine(job=job))


def progress_line(job: str, said: Progress) -> None:
    """What a job says of itself."""
    from ...wire.lines import ProgressLine

    line(ProgressLine(job=job, fraction=said.fraction, text=said.text, at=said.at))


def end_line(job: Job, home: Home | None) -> None:
    """The last line of a job, with all of it."""
    from ...wire.lines import EndLine

    line(EndLine(job=job, home=home))


class OutputLines:
    """Output as lines of JSON. A letter that two pieces share is held back until it is whole, so that text
    stays text."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._held: dict[tuple[Stream, int, int], tuple[int, bytes]] = {}

    def lines(self, piece: OutputPiece) -> Iterator[OutputLine | GapLine]:
        """The objects to print for one piece."""
        from ...wire.lines import GapLine

        key = (piece.stream, piece.task, piece.attempt)
        if piece.kind == "gap":
            yield from self._flush(key)
            stream, task, attempt = key
            yield GapLine(
                job=self._job,
                stream=stream,
                task=task,
                attempt=attempt,
                offset=piece.offset,
                missing_bytes=piece.missing_bytes,
            )
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
        for one in self.lines(piece):
            line(one)

    def _flush(self, key: tuple[Stream, int, int]) -> Iterator[OutputLine]:
        if key in self._held:
            offset, held = self._held.pop(key)
            yield self._output(key, offset, held)

    def _output(self, key: tuple[Stream, int, int], offset: int, data: bytes) -> OutputLine:
        from ...wire.lines import OutputLine

        stream, task, attempt = key
        text: str | msgspec.UnsetType = msgspec.UNSET
        encoded: str | msgspec.UnsetType = msgspec.UNSET
        try:
            text = data.decode()
        except UnicodeDecodeError:
            encoded = base64.b64encode(data).decode()
        return OutputLine(
            job=self._job,
            stream=stream,
            task=task,
            attempt=attempt,
            offset=offset,
            text=text,
            base64=encoded,
        )


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


def _encoded(value: Any) -> bytes:
    """JSON is UTF-8, which a name of a file need not be: its other bytes are written as escapes."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_storable(msgspec.to_builtins(value)))


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {_storable(key): _storable(one) for key, one in value.items()}
    return [_storable(one) for one in value] if isinstance(value, list | tuple) else value


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()
