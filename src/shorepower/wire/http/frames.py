"""Frames: one line of JSON with a key ``size``, then exactly that many bytes. No I/O.

The same form carries output, files and uploads, in both directions. A reader is fed whatever arrived,
split anywhere, and holds at most one header and one body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from ...model.errors import InvalidRequest
from ...model.tree import CHUNK_BYTES

__all__ = [
    "FRAMES",
    "HEADER_LIMIT_BYTES",
    "BadFrames",
    "FrameReader",
    "encode_frame",
    "frame_head",
    "frame_parts",
]

FRAMES = "application/vnd.shorepower.frames"
"""The media type."""
HEADER_LIMIT_BYTES = 64 << 10
"""Of one line, its newline not counted."""

_JOIN_BYTES = 64 << 10

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


class BadFrames(InvalidRequest):
    """What arrived is no sequence of frames, or one is over the limit; nothing more can be read."""


def encode_frame(header: Mapping[str, Any] | Struct, body: bytes = b"") -> bytes:
    """A whole frame; ``size`` is added. Raises BadFrames when the header is too long."""
    return frame_head(header, len(body)) + body


def frame_head(header: Mapping[str, Any] | Struct, size: int) -> bytes:
    """The line that stands before ``size`` bytes. Raises BadFrames when the header is too long."""
    fields = header if isinstance(header, Mapping) else msgspec.to_builtins(header)
    line = _encoder.encode({**fields, "size": size})
    if len(line) > HEADER_LIMIT_BYTES:
        raise BadFrames(f"a frame's header has at most {HEADER_LIMIT_BYTES} bytes, not {len(line)}")
    return line + b"\n"


def frame_parts(header: Mapping[str, Any] | Struct, body: bytes) -> tuple[bytes, ...]:
    """A whole frame, to be sent in order; a large body is not copied."""
    head = frame_head(header, len(body))
    return (head + body,) if len(body) <= _JOIN_BYTES else (head, body)


class FrameReader:
    """Takes frames out of bytes that arrive in pieces."""

    def __init__(self, *, body_limit_bytes: int = CHUNK_BYTES) -> None:
        self._limit = body_limit_bytes
        self._line = bytearray()
        self._header: dict[str, Any] | None = None
        self._parts: list[memoryview] = []
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
        """(header, body) of each frame that these bytes complete.

        Raises BadFrames; the reader is of no use then.
        """
        rest = memoryview(data)
        while True:
            if self._header is None:
                rest = self._read_line(rest)
            if self._header is None:
                return
            taken, rest = rest[: self._missing], rest[self._missing :]
            self._missing -= len(taken)
            if len(taken):
                self._parts.append(taken)
            if self._missing:
                return
            header, body = self._header, b"".join(self._parts)
            self._header, self._parts = None, []
            yield header, body

    def finish(self) -> None:
        """Say that nothing more comes. Raises BadFrames when that is in the middle of a frame."""
        if self._header is not None or self._line:
            raise BadFrames("the frames end in the middle of one")

    def _read_line(self, rest: memoryview) -> memoryview:
        """Add to the header; what is left after its end, if that was there."""
        room = HEADER_LIMIT_BYTES - len(self._line)
        window = bytes(rest[: room + 1])
        end = window.find(b"\n")
        if end < 0:
            if len(window) > room:
                raise BadFrames(f"a frame's header has at most {HEADER_LIMIT_BYTES} bytes")
            self._line += window
            return rest[len(window) :]
        self._line += window[:end]
        self._header, self._missing = self._parse(bytes(self._line))
        self._line.clear()
        return rest[end + 1 :]

    def _parse(self, line: bytes) -> tuple[dict[str, Any], int]:
        try:
            header = _decoder.decode(line)
        except msgspec.DecodeError as error:
            raise BadFrames(f"a frame's header is no JSON object: {error}") from None
        except RecursionError:
            raise BadFrames("a frame's header is nested too deeply") from None
        size = header.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise BadFrames("a frame's header has no size")
        if size > self._limit:
            raise BadFrames(f"a frame holds at most {self._limit} bytes, not {size}")
        return header, size
