"""Seam: frames until ``wire.http.frames`` is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

HEADER_LIMIT = 64 << 10


class FrameReader:
    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        self._rest += data
        while (end := self._rest.find(b"\n", 0, HEADER_LIMIT)) >= 0:
            header = msgspec.json.decode(bytes(self._rest[:end]))
            size = header["size"]
            if len(self._rest) < end + 1 + size:
                return
            body = bytes(self._rest[end + 1 : end + 1 + size])
            del self._rest[: end + 1 + size]
            yield header, body


def encode_frame(header: Mapping[str, Any], body: bytes = b"") -> bytes:
    return msgspec.json.encode({**header, "size": len(body)}) + b"\n" + body
