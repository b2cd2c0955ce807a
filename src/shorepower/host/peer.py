"""Who is at the other end of a Unix socket, by the kernel's word."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Protocol

__all__ = ["peer_uid"]

_UCRED = struct.Struct("3i")
"""pid, uid, gid. Source: unix(7), SO_PEERCRED."""
_XUCRED_HEAD = struct.Struct("2I")
"""version, uid. Source: unix(4) of macOS, LOCAL_PEERCRED."""
_XUCRED_BYTES = 76
_SOL_LOCAL, _LOCAL_PEERCRED = 0, 1


class _Options(Protocol):
    def getsockopt(self, level: int, option: int, size: int, /) -> bytes: ...


def peer_uid(connection: _Options) -> int:
    """The user number that connected; a negative one where the kernel does not know. Raises OSError."""
    if sys.platform == "linux":
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return _UCRED.unpack(data)[1]
    data = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, _XUCRED_BYTES)
    return _XUCRED_HEAD.unpack_from(data)[1]
