"""Server-sent events, as bytes. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from __future__ import annotations

__all__ = ["EVENT_STREAM", "PING", "encode_event"]

EVENT_STREAM = "text/event-stream"
"""The media type."""
PING = b": alive\n\n"
"""A comment: a sign of life that no reader sees."""


def encode_event(data: bytes, *, id: str, event: str) -> bytes:
    """One event. ``data`` is JSON without line breaks, ``id`` is where to resume after it."""
    if b"\n" in data or b"\r" in data or not (id.isprintable() and event.isprintable()):
        raise ValueError("an event's lines hold no line breaks")
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (id.encode(), event.encode(), data)
