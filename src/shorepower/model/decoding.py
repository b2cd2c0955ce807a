"""Decoders that any thread may use at any moment.

msgspec (seen with 0.22) works out what a struct holds when it is first asked for. A second thread that
asks meanwhile is given the half-done answer, reads through a null pointer, and the process is gone. So
decoders of structs are made here, by one thread at a time, whole before anybody has them.
"""

from __future__ import annotations

import threading
from typing import Any

from msgspec.json import Decoder

__all__ = ["json_decoder"]

_lock = threading.Lock()
_made: dict[Any, Decoder[Any]] = {}


def json_decoder(kind: Any) -> Decoder[Any]:
    """The one decoder of JSON for a kind: a struct, or ``list[Job]``."""
    found = _made.get(kind)
    if found is None:
        with _lock:
            found = _made.get(kind)
            if found is None:
                found = _made[kind] = Decoder(kind)
    return found
