"""The output of many tasks on one pair of streams: each line after ``7| ``, the index of its task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from ..model.output import OutputPiece, Stream

__all__ = ["Prefixes", "prefixed"]

HELD_BYTES = 64 << 10
"""Of a line without an end; a longer one is cut into several."""


class Prefixes:
    """Whole lines only, as two tasks must not share one."""

    def __init__(self) -> None:
        self._held: dict[Stream, tuple[int, bytes]] = {}

    def feed(self, piece: OutputPiece) -> bytes:
        """What to write to the piece's stream now."""
        task, held = self._held.pop(piece.stream, (piece.task, b""))
        done = b""
        if task != piece.task:
            done, held = _line(task, held), b""
        data = held + piece.data
        whole, newline, rest = data.rpartition(b"\n")
        if len(rest) > HELD_BYTES:
            whole, newline, rest = data, b"\n", b""
        if rest:
            self._held[piece.stream] = piece.task, rest
        return done + (_lines(piece.task, whole) if newline else b"")

    def rest(self) -> Iterator[tuple[Stream, bytes]]:
        """What is left at the end: lines that were never ended."""
        for stream, (task, held) in self._held.items():
            yield stream, _line(task, held)
        self._held.clear()


def prefixed(pieces: Iterable[OutputPiece]) -> Iterator[OutputPiece]:
    """The same pieces, with each line marked."""
    prefixes = Prefixes()
    for piece in pieces:
        yield replace(piece, data=prefixes.feed(piece)) if piece.kind == "output" else piece
    for stream, data in prefixes.rest():
        yield OutputPiece(kind="output", stream=stream, data=data)


def _lines(task: int, whole: bytes) -> bytes:
    mark = b"%d| " % task
    return mark + whole.replace(b"\n", b"\n" + mark) + b"\n"


def _line(task: int, held: bytes) -> bytes:
    return b"%d| %b\n" % (task, held) if held else b""
