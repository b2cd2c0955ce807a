"""Bodies that travel compressed, never larger in memory than was agreed."""

from __future__ import annotations

from collections.abc import Iterator

import zstandard

from ...model.errors import InvalidRequest, TooLarge

__all__ = ["decompressed"]

_PIECE_BYTES = 1 << 20
_WINDOW_LIMIT_BYTES = 32 << 20
"""What a sender may make us remember; levels 1 to 19 need 8 MiB at most. Source: zstd(1), --long."""


def decompressed(data: bytes, limit_bytes: int) -> Iterator[bytes]:
    """The content of a zstd stream, in pieces of at most 1 MiB.

    Raises TooLarge as soon as there is more than ``limit_bytes`` of it, InvalidRequest for what is not
    zstd. A stream that ends too early is not noticed here: what it carries must tell its own end.
    """
    total = 0
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_LIMIT_BYTES)
    try:
        with decompressor.stream_reader(data, read_across_frames=True) as reader:
            while piece := reader.read(_PIECE_BYTES):
                total += len(piece)
                if total > limit_bytes:
                    raise TooLarge(f"a body has at most {limit_bytes} bytes once decompressed")
                yield piece
    except zstandard.ZstdError as error:
        raise InvalidRequest(f"the body is not zstd: {error}") from None
