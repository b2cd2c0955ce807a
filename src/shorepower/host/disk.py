"""What file systems can do that the standard library does not offer; each with a way out elsewhere."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from functools import cache

if sys.platform != "win32":
    import fcntl

__all__ = ["boot_id", "clone_range", "sync_file_system"]

_FICLONERANGE = 0x4020940D
"""Source: linux/fs.h, _IOW(0x94, 13, struct file_clone_range)."""


def sync_file_system(fd: int) -> None:
    """Everything written so far to the file system that ``fd`` is on is on disk when this returns.

    Raises OSError, and NotImplementedError where one call cannot do that (then fsync each file).
    """
    call = _syncfs()
    if call is None:
        raise NotImplementedError
    if call(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def clone_range(source: int, target: int, offset: int, length: int) -> bool:
    """Let ``target`` share the first ``length`` bytes of ``source`` from ``offset`` on, copied on write.

    False where the file system cannot. Raises OSError for anything else (disk full).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(target, _FICLONERANGE, struct.pack("qQQQ", source, 0, length, offset))
    except OSError as error:
        if error.errno in (
            errno.EOPNOTSUPP,
            errno.ENOTTY,
            errno.EXDEV,
            errno.EINVAL,
            errno.ENOSYS,
            errno.EPERM,
        ):
            return False
        raise
    return True


@cache
def boot_id() -> str:
    """Differs after each start of the machine; empty where that is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


@cache
def _syncfs() -> ctypes._CFuncPtr | None:  # type: ignore[name-defined]
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
