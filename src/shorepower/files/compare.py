"""Whether a file of a working folder is still what was staged."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from ..model.names import quoted
from ..model.tree import CHUNK_BYTES, TreeEntry
from .layout import marker_of

__all__ = ["Comparison", "Digests", "open_file", "read_digests"]

_PIECE_BYTES = 1 << 20


class Digests(Struct, frozen=True):
    """What a file holds."""

    whole: str
    chunks: tuple[str, ...]


class Comparison:
    """Compares names in open folders with entries of the snapshot."""

    def __init__(self, project: Path, check: Callable[[], None]) -> None:
        self._check = check
        try:
            self._staged_ns = os.stat(marker_of(project)).st_ctime_ns
        except OSError:
            self._staged_ns = 0  # then contents are compared
        self.read: dict[tuple[int, int], Digests] = {}
        """Digests of the file looked at last, by device and inode."""

    def unchanged(self, folder: int, name: bytes, status: os.stat_result, known: TreeEntry | None) -> bool:
        """Whether a name that was looked at is the snapshot's own. Raises OSError when it cannot be read.

        A file counts as untouched by size, time, and a change time before the end of staging; else by
        content and mode.
        """
        if known is None:
            return False
        if stat.S_ISLNK(status.st_mode):
            return known.kind == "link" and os.readlink(name, dir_fd=folder) == known.target
        if not stat.S_ISREG(status.st_mode) or known.kind != "file" or status.st_size != known.size_bytes:
            return False
        if status.st_mtime_ns == known.mtime_ns and status.st_ctime_ns < self._staged_ns:
            return True
        if stat.S_IMODE(status.st_mode) & 0o777 != known.mode:
            return False
        found = read_digests(folder, name, self._check, chunks=True)
        self.read = {(status.st_dev, status.st_ino): found}
        return found.chunks == known.digests


def open_file(folder: int, name: bytes) -> int:
    """A descriptor of a regular file, not through a link. Raises OSError; for anything else it is one
    of `FileNotFoundError`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    file = os.open(name, flags, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileNotFoundError(f"{quoted(name)} is not a regular file")
    return file


def read_digests(folder: int, name: bytes, check: Callable[[], None], *, chunks: bool) -> Digests:
    """Read a file once. Raises OSError, and BlockingIOError when it changed meanwhile, twice."""
    for _ in range(2):
        with open(open_file(folder, name), "rb", buffering=0) as file:
            before = os.fstat(file.fileno())
            found = _digests(file.fileno(), before.st_size, check, chunks)
            after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
            return found
    raise BlockingIOError("it changes while it is read")


def _digests(file: int, size: int, check: Callable[[], None], chunks: bool) -> Digests:
    whole, parts, one = hashlib.sha256(), [], hashlib.sha256()
    several = chunks and size > CHUNK_BYTES
    offset = 0
    while piece := os.pread(file, _PIECE_BYTES, offset):
        whole.update(piece)
        offset += len(piece)
        if several:
            one.update(piece)
            if offset % CHUNK_BYTES == 0:
                parts.append(f"sha256:{one.hexdigest()}")
                one = hashlib.sha256()
        if offset % CHUNK_BYTES == 0:
            check()
    total = f"sha256:{whole.hexdigest()}"
    if several and offset % CHUNK_BYTES:
        parts.append(f"sha256:{one.hexdigest()}")
    return Digests(total, tuple(parts) if several else (total,) if offset else ())
