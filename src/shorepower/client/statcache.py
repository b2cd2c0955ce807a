"""Digests of files that have not changed since they were last read."""

from __future__ import annotations

from pathlib import Path

__all__ = ["StatCache"]


class StatCache:
    """One project's cache: (path, size, mtime, inode, ctime) → digests of its chunks.

    A file that was modified within the last moments before it was read is read again next time, as its
    clock may not tell a second change. Lost, damaged or foreign files are the same as none.
    """

    @classmethod
    def of(cls, root: Path, cache_dir: Path) -> StatCache:
        """The cache of a project below ``$XDG_CACHE_HOME/shorepower``; read now, never raises."""
        raise NotImplementedError

    def save(self) -> None:
        """Replace the file whole; failing is harmless and silent."""
        raise NotImplementedError
