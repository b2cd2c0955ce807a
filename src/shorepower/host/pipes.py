"""Talking with a short program through its three pipes, bounded in time and size. Blocking."""

from __future__ import annotations

import os
import selectors
import threading
import time
from typing import IO

from msgspec import Struct

from ..model.errors import TooLarge

__all__ = ["Talk", "talk"]

_PIECE = 1 << 16
_LOOKS_UP_S = 0.1
"""How often it is seen that nobody waits any more."""


class Talk(Struct, frozen=True, kw_only=True):
    """What a program is told, and what it may cost."""

    program: str
    """As it is named when something is wrong."""
    stdin: bytes
    deadline: float
    """By `time.monotonic`."""
    limit_bytes: int
    """For both streams together."""
    give_up: threading.Event
    """Set when nobody waits any more."""

    def too_slow(self) -> TimeoutError:
        """What is raised when it takes too long."""
        return TimeoutError(f"{self.program} did not end in time")


def talk(what: Talk, stdin: IO[bytes], said: dict[IO[bytes], bytearray]) -> None:
    """Feed ``stdin`` and gather what comes into ``said`` until all of its pipes are closed.

    Raises TimeoutError, TooLarge; what came until then has been gathered.
    """
    left = memoryview(what.stdin)
    with selectors.DefaultSelector() as pipes:
        for pipe in said:
            pipes.register(pipe, selectors.EVENT_READ)
        if left:
            os.set_blocking(stdin.fileno(), False)
            pipes.register(stdin, selectors.EVENT_WRITE)
        else:
            stdin.close()
        while pipes.get_map():
            if what.give_up.is_set() or time.monotonic() >= what.deadline:
                raise what.too_slow()
            for key, _ in pipes.select(min(_LOOKS_UP_S, max(0.0, what.deadline - time.monotonic()))):
                if key.fileobj is stdin:
                    left = _feed(stdin, pipes, left)
                    continue
                piece = os.read(key.fd, _PIECE)
                said[key.fileobj] += piece  # type: ignore[index] - registered above
                if not piece:
                    pipes.unregister(key.fileobj)
                if sum(map(len, said.values())) > what.limit_bytes:
                    raise TooLarge(f"{what.program} said more than {what.limit_bytes} bytes")


def _feed(stdin: IO[bytes], pipes: selectors.BaseSelector, left: memoryview) -> memoryview:
    try:
        left = left[os.write(stdin.fileno(), left[:_PIECE]) :]
    except BrokenPipeError:  # it does not want more
        left = left[:0]
    if not left:
        pipes.unregister(stdin)
        stdin.close()
    return left
