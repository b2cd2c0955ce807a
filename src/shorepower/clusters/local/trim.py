"""Gives the oldest output back to the disk, so that a job may print for ever. Blocking."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

from ...model.output import Stream
from ..spool import Part
from ..tail import kept_from

__all__ = ["trim"]

_KEEP_SIZE, _PUNCH_HOLE = 1, 2
"""Source: fallocate(2)."""
_BLOCK = 1 << 16
_NOT_HERE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})


def trim(part: Part, limit_bytes: int) -> None:
    """Keep the newest ``limit_bytes`` of each stream, roughly: what goes, goes in large steps.

    Where the file system cannot punch holes everything stays. Raises OSError.
    """
    for stream in Stream:
        try:
            size = part.output(stream).stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue
        wanted = (size - limit_bytes) // _BLOCK * _BLOCK
        if wanted > 0:
            _give_back(part, stream, wanted)


def _give_back(part: Part, stream: Stream, wanted: int) -> None:
    fd = os.open(part.output(stream), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if wanted > kept_from(fd):
            _punch(fd, wanted)
    except OSError as fault:
        if fault.errno not in _NOT_HERE:
            raise
    finally:
        os.close(fd)


def _punch(fd: int, length: int) -> None:
    call = _fallocate()
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(fd, _KEEP_SIZE | _PUNCH_HOLE, 0, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@cache
def _fallocate() -> ctypes._CFuncPtr | None:  # type: ignore[name-defined]
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return call
