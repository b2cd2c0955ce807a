"""The private server that lives, also when its socket is not where this login looks for it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from .autostart import answers
from .settings import Places

__all__ = ["SOCKET_BACK_S", "living_socket"]

SOCKET_BACK_S = 8.0
"""A server whose socket has vanished makes it anew within this time."""
_PAUSE_S = 0.1


class _Lease(Struct, frozen=True, kw_only=True):
    """What is needed of ``lease.json``."""

    host: str
    pid: int
    socket: str = ""


def living_socket(places: Places) -> str | None:
    """Where this user's own server on this machine answers; None when none lives here.

    It may have been started by a login with another runtime directory, or be without a socket for some
    seconds because somebody tidied up.
    """
    deadline = time.monotonic() + SOCKET_BACK_S
    while not answers(places.socket):
        lease = _lease(places.state_dir)
        if lease is None or lease.host != socket.gethostname() or not _lives(lease.pid):
            return None
        if lease.socket and lease.socket != places.socket and answers(lease.socket):
            return lease.socket
        if time.monotonic() > deadline:
            return None
        time.sleep(_PAUSE_S)
    return places.socket


def _lease(state_dir: Path) -> _Lease | None:
    try:
        return msgspec.json.decode((state_dir / "lease.json").read_bytes(), type=_Lease)
    except (OSError, msgspec.DecodeError):
        return None


def _lives(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, OverflowError):
        return False
    except (OSError, IndexError):
        return True  # it is there, and nothing more is known
