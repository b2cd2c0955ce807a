"""An object of a session on its way into a job."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["INLINE_BYTES", "Payload"]

INLINE_BYTES = 64 << 10
"""What is larger travels as blobs."""


class Payload(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Bytes of a runtime's own making; exactly one of ``inline`` and ``blobs`` is given."""

    media_type: str = "application/octet-stream"
    runtime: str = ""
    """Who can read it: ``python-pickle/3.11``, ``rds/4.2``."""
    inline: bytes = b""
    """At most 64 KiB; base64 in JSON."""
    blobs: tuple[str, ...] = ()
    """Digests of the blobs that together are the object."""
    size_bytes: int = 0
