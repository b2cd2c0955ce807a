"""Digests of files that have not changed since they were last read, folder by folder."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["FolderCache", "StatCache"]

_VERSION = 2
_PREFIX = "sha256:"
_CHECKSUM_BYTES = 4
_COARSE_NS, _FINE_NS = 3_000_000_000, 100_000_000
"""How long before it was read a file must have been left alone; file systems that keep only whole
microseconds, or seconds, need the longer one."""

_Row = tuple[int, int, int, int, bytes]
"""Size, mtime, inode, ctime, the chunks' digests without their prefix."""
_Rows = dict[bytes, _Row]


class _Folder(Struct, array_like=True):
    """One folder: what its tree object was when everything in it looked like ``signature``."""

    signature: bytes
    tree: str
    size_bytes: int
    rows: msgspec.Raw
    """By name; decoded only when something in the folder changed."""


class _Stored(Struct, array_like=True):
    v: int
    root: bytes
    folders: dict[bytes, _Folder]


class FolderCache:
    """The files of one folder."""

    def __init__(self, stored: _Folder | None) -> None:
        self._stored = stored
        self._known: _Rows | None = None
        self._rows: _Rows = {}
        self._complete = True
        self.changed = stored is None

    def whole(self, signature: bytes) -> tuple[str, int] | None:
        """(digest of the tree object, bytes below) if everything looks as it did."""
        if self._stored is None or self._stored.signature != signature:
            return None
        return self._stored.tree, self._stored.size_bytes

    def get(self, name: bytes, size: int, mtime_ns: int, inode: int, ctime_ns: int) -> list[str] | None:
        """The digests of a file's chunks, if it is still the one that was read."""
        row = self._decoded().get(name)
        if row is None or row[:4] != (size, mtime_ns, inode, ctime_ns):
            return None
        self._rows[name] = row
        digests = row[4].hex()
        return [_PREFIX + digests[at : at + 64] for at in range(0, len(digests), 64)]

    def put(self, name: bytes, status: os.stat_result, digests: Sequence[str], read_at_ns: int) -> None:
        """Remember a file that was read from ``read_at_ns`` on (wall clock) and had this status."""
        self.changed = True
        fine = status.st_mtime_ns % 1000 != 0 and status.st_ctime_ns % 1000 != 0
        quiet_ns = _FINE_NS if fine else _COARSE_NS
        if max(status.st_mtime_ns, status.st_ctime_ns) > read_at_ns - quiet_ns:
            self.forget(name)
            return
        packed = b"".join(bytes.fromhex(digest.removeprefix(_PREFIX)) for digest in digests)
        self._rows[name] = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns, packed)

    def forget(self, name: bytes) -> None:
        """Read this file again next time."""
        self._decoded().pop(name, None)
        self._rows.pop(name, None)
        self._complete, self.changed = False, True
        if self._stored is not None:
            self._stored.signature = b""

    def settle(self, signature: bytes, tree: str, size_bytes: int) -> None:
        """Every file was got or put: this is the tree object that came of it."""
        kept = signature if self._complete else b""
        self.changed |= self._stored is None or self._stored.signature != kept
        rows = msgspec.Raw(msgspec.msgpack.encode(self._rows))
        self._stored, self._known = _Folder(kept, tree, size_bytes, rows), dict(self._rows)

    def stored(self) -> _Folder | None:
        """What is to be saved."""
        return self._stored

    def _decoded(self) -> _Rows:
        if self._known is None:
            try:
                self._known = msgspec.msgpack.decode(self._stored.rows, type=_Rows) if self._stored else {}
            except msgspec.DecodeError:
                self._known = {}
        return self._known


class StatCache:
    """One project's cache: (path, size, mtime, inode, ctime) → digests of its chunks.

    A file that was modified within the last moments before it was read is read again next time, as its
    clock may not tell a second change. Lost, damaged or foreign files are the same as none.
    """

    def __init__(self, root: Path, file: Path, folders: dict[bytes, _Folder]) -> None:
        self._root, self._file = root, file
        self._known = folders
        self._used: dict[bytes, FolderCache] = {}

    @classmethod
    def of(cls, root: Path, cache_dir: Path) -> StatCache:
        """The cache of a project below ``$XDG_CACHE_HOME/shorepower``; read now, never raises."""
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
        file = cache_dir / "files" / f"{name}.bin"
        try:
            stored = msgspec.msgpack.decode(_whole(file.read_bytes()), type=_Stored)
            fits = stored.v == _VERSION and stored.root == os.fsencode(root)
            return cls(root, file, stored.folders if fits else {})
        except (OSError, msgspec.DecodeError):
            return cls(root, file, {})

    def folder(self, path: bytes) -> FolderCache:
        """The cache of one folder, by its path in the project (empty: the project itself)."""
        if path not in self._used:
            self._used[path] = FolderCache(self._known.get(path))
        return self._used[path]

    def forget(self, path: bytes) -> None:
        """Read this file again next time."""
        folder, _, name = path.rpartition(b"/")
        self.folder(folder).forget(name)

    def save(self) -> None:
        """Replace the file whole, with the folders that this run used; failing is harmless and silent."""
        if self._known.keys() == self._used.keys() and not any(one.changed for one in self._used.values()):
            return
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        folders = {path: kept for path, one in self._used.items() if (kept := one.stored()) is not None}
        stored = _Stored(_VERSION, os.fsencode(self._root), folders)
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            data = msgspec.msgpack.encode(stored)
            temporary.write_bytes(_checksum(data) + data)
            temporary.replace(self._file)
        except OSError:
            with suppress(OSError):  # a cache that cannot be kept is only slower
                temporary.unlink()


def _checksum(data: bytes | memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECKSUM_BYTES, "big")


def _whole(file: bytes) -> memoryview:
    """What was saved. Raises msgspec.DecodeError when a bit of it is another one now."""
    data = memoryview(file)[_CHECKSUM_BYTES:]
    if _checksum(data) != file[:_CHECKSUM_BYTES]:
        raise msgspec.DecodeError("the cache is damaged")
    return data
