"""Digests of files that have not changed since they were last read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["StatCache"]

_VERSION = 1
_PREFIX = "sha256:"
_COARSE_NS, _FINE_NS = 3_000_000_000, 100_000_000
"""How long before it was read a file must have been left alone; file systems that keep only whole
microseconds, or seconds, need the longer one."""

_Row = tuple[int, int, int, int, bytes]
"""Size, mtime, inode, ctime, the chunks' digests without their prefix."""


class _Stored(Struct, array_like=True):
    v: int
    root: bytes
    rows: dict[bytes, _Row]


class StatCache:
    """One project's cache: (path, size, mtime, inode, ctime) → digests of its chunks.

    A file that was modified within the last moments before it was read is read again next time, as its
    clock may not tell a second change. Lost, damaged or foreign files are the same as none.
    """

    def __init__(self, root: Path, file: Path, rows: dict[bytes, _Row]) -> None:
        self._root, self._file = root, file
        self._known, self._used = rows, dict[bytes, _Row]()
        self._changed = False

    @classmethod
    def of(cls, root: Path, cache_dir: Path) -> StatCache:
        """The cache of a project below ``$XDG_CACHE_HOME/shorepower``; read now, never raises."""
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        file = cache_dir / "files" / f"{name}.bin"
        try:
            stored = msgspec.msgpack.decode(file.read_bytes(), type=_Stored)
            fits = stored.v == _VERSION and stored.root == os.fsencode(root)
            return cls(root, file, stored.rows if fits else {})
        except (OSError, msgspec.DecodeError):
            return cls(root, file, {})

    def get(self, path: bytes, size: int, mtime_ns: int, inode: int, ctime_ns: int) -> list[str] | None:
        """The digests of a file's chunks, if it is still the one that was read."""
        row = self._known.get(path)
        if row is None or row[0] != size or row[1] != mtime_ns or row[2] != inode or row[3] != ctime_ns:
            return None
        self._used[path] = row
        digests = row[4].hex()
        return [_PREFIX + digests[at : at + 64] for at in range(0, len(digests), 64)]

    def put(self, path: bytes, status: os.stat_result, digests: Sequence[str], read_at_ns: int) -> None:
        """Remember a file that was read from ``read_at_ns`` on (wall clock) and had this status."""
        fine = status.st_mtime_ns % 1000 != 0 and status.st_ctime_ns % 1000 != 0
        quiet_ns = _FINE_NS if fine else _COARSE_NS
        if max(status.st_mtime_ns, status.st_ctime_ns) > read_at_ns - quiet_ns:
            self.forget(path)
            return
        packed = b"".join(bytes.fromhex(digest.removeprefix(_PREFIX)) for digest in digests)
        self._used[path] = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns, packed)
        self._changed = True

    def forget(self, path: bytes) -> None:
        """Read this file again next time."""
        self._known.pop(path, None)
        self._used.pop(path, None)

    def save(self) -> None:
        """Replace the file whole, with what this run used; failing is harmless and silent."""
        if not self._changed and len(self._used) == len(self._known):
            return
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        stored = _Stored(_VERSION, os.fsencode(self._root), self._used)
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(msgspec.msgpack.encode(stored))
            temporary.replace(self._file)
        except OSError:
            with suppress(OSError):  # a cache that cannot be kept is only slower
                temporary.unlink()
