"""A project becomes tree objects: built bottom-up, each file read once unless it is known."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
from msgspec import Struct

from ..model.errors import InvalidRequest, ShorepowerError, TooLarge
from ..model.resources import counted
from ..model.tree import CHUNK_BYTES, TreeEntry, digest_of, encode_tree
from .names import shown
from .statcache import FolderCache, StatCache
from .view import Folder, Item, ProjectView

__all__ = ["BuiltFile", "BuiltFolder", "FileChanged", "FileKeepsChanging", "Snapshot", "read_chunk"]

_TRIES = 3
_HELD_BYTES = 64 << 20
_HELD_FILE_BYTES = 256 << 10
_READ = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)


class FileKeepsChanging(ShorepowerError):
    """A file was written to each time it was read; nothing was submitted."""

    def __init__(self, path: bytes) -> None:
        super().__init__(
            f"{shown(path)} is written to while it is read: wait until that has ended, or leave it out in "
            ".shoreignore"
        )


class FileChanged(Exception):
    """What was read before is not what is there now."""

    def __init__(self, path: bytes) -> None:
        self.path = path


class BuiltFile(Struct, frozen=True):
    """A file and its chunks."""

    path: bytes
    """Relative to the project."""
    size_bytes: int
    digests: tuple[str, ...]


class Content(Struct, frozen=True):
    """What a folder itself holds."""

    tree: bytes
    """Its tree object."""
    files: tuple[BuiltFile, ...]
    size_bytes: int
    """Of everything below."""


class BuiltFolder:
    """A folder with the digest of its tree object; its content is built only when it is asked for."""

    def __init__(
        self, digest: str, size_bytes: int, folders: tuple[BuiltFolder, ...], build: Callable[[], Content]
    ) -> None:
        self.digest, self.size_bytes, self.folders = digest, size_bytes, folders
        self._build = build

    @cached_property
    def content(self) -> Content:
        """Raises what `Snapshot.build` raises, and FileChanged."""
        return self._build()

    def each(self) -> Iterator[BuiltFolder]:
        """This and all folders below, inner ones first."""
        for folder in self.folders:
            yield from folder.each()
        yield self


class Snapshot:
    """Builds one project; content of small new files is held so that it need not be read twice.

    A folder in which everything looks as it did has the tree object that it had, which costs one
    comparison for all its files together.
    """

    def __init__(self, view: ProjectView, cache: StatCache, heard: Callable[[int], None]) -> None:
        self._root = os.fsencode(view.root)
        self._tree, self._cache, self._heard = view.tree, cache, heard
        self._held_bytes = 0
        self.held: dict[str, bytes] = {}

    def build(self) -> BuiltFolder:
        """The whole project. Raises FileKeepsChanging, InvalidRequest, TooLarge."""
        return self._folder(b"", self._tree)

    def _folder(self, path: bytes, folder: Folder) -> BuiltFolder:
        prefix = path + b"/" if path else b""
        below = tuple(self._folder(prefix + one.name, one) for one in folder.folders)
        cache = self._cache.folder(path)
        signature = _signature(folder, below)
        known = cache.whole(signature)
        if known is not None:
            digest, size = known
            self._heard(size - sum(one.size_bytes for one in below))
            return BuiltFolder(digest, size, below, lambda: self._again(path, folder, below, digest))
        content = self._content(path, folder, below)
        digest = digest_of(content.tree)
        cache.settle(signature, digest, content.size_bytes)
        return BuiltFolder(digest, content.size_bytes, below, lambda: content)

    def _again(self, path: bytes, folder: Folder, below: tuple[BuiltFolder, ...], digest: str) -> Content:
        """The content of a folder that was known by its looks."""
        content = self._content(path, folder, below)
        if digest_of(content.tree) != digest:
            raise FileChanged(path + b"/")
        return content

    def _content(self, path: bytes, folder: Folder, below: tuple[BuiltFolder, ...]) -> Content:
        prefix = path + b"/" if path else b""
        cache = self._cache.folder(path)
        entries: list[TreeEntry] = []
        files: list[BuiltFile] = []
        for item in folder.items:
            if item.kind == "link":
                entries.append(_entry(item, "link", target=item.target))
                continue
            entry = self._file(prefix + item.name, item, cache)
            entries.append(entry)
            files.append(BuiltFile(prefix + item.name, entry.size_bytes, entry.digests))
            self._heard(item.size_bytes)
        for one, built in zip(folder.folders, below, strict=True):
            entries.append(_entry(one, "dir", size_bytes=built.size_bytes, digests=(built.digest,)))
        tree = encode_tree(entries)
        if len(tree) > CHUNK_BYTES:
            held = f"{shown(path) or 'the project'} holds {counted(len(entries), 'file')}"
            raise TooLarge(
                f"{held} in one folder, more than can be sent (about 100,000): use folders inside it, "
                "or an archive, or link it with --data"
            )
        return Content(tree, tuple(files), sum(entry.size_bytes for entry in entries))

    def _file(self, path: bytes, item: Item, cache: FolderCache) -> TreeEntry:
        if not item.size_bytes:
            return _entry(item, "file")
        known = cache.get(item.name, item.size_bytes, item.mtime_ns, item.inode, item.ctime_ns)
        if known is not None:
            return _entry(item, "file", size_bytes=item.size_bytes, digests=tuple(known))
        status, digests = self._read(path, item.name, cache)
        return TreeEntry(
            name=item.name,
            kind="file",
            mode=stat.S_IMODE(status.st_mode) & 0o777,
            mtime_ns=status.st_mtime_ns,
            size_bytes=status.st_size,
            digests=tuple(digests),
        )

    def _read(self, path: bytes, name: bytes, cache: FolderCache) -> tuple[os.stat_result, list[str]]:
        try:
            for _ in range(_TRIES):
                read_at_ns = time.time_ns()
                with open(os.open(self._root + b"/" + path, _READ), "rb", buffering=0) as file:
                    before = os.fstat(file.fileno())
                    if not stat.S_ISREG(before.st_mode):
                        raise InvalidRequest(f"{shown(path)} is no file any more; start again")
                    digests = [self._digest(chunk) for chunk in _chunks(file.fileno())]
                    after = os.fstat(file.fileno())
                if _same(before, after):
                    cache.put(name, after, digests, read_at_ns)
                    return after, digests
        except OSError as error:
            raise _unreadable(path, error) from error
        raise FileKeepsChanging(path)

    def _digest(self, chunk: bytes) -> str:
        digest = digest_of(chunk)
        if len(chunk) <= _HELD_FILE_BYTES and self._held_bytes < _HELD_BYTES:
            self._held_bytes += len(chunk)
            self.held[digest] = chunk
        return digest


def _entry(one: Item | Folder, kind: str, **more: Any) -> TreeEntry:
    return TreeEntry(name=one.name, kind=kind, mode=one.mode, mtime_ns=one.mtime_ns, **more)


def _signature(folder: Folder, below: Sequence[BuiltFolder]) -> bytes:
    """Differs when anything in a folder looks different."""
    inner = [
        (one.name, one.mode, one.mtime_ns, built.digest)
        for one, built in zip(folder.folders, below, strict=True)
    ]
    return hashlib.sha256(msgspec.msgpack.encode((folder.items, inner))).digest()


def read_chunk(root: bytes, file: BuiltFile, number: int) -> bytes:
    """One chunk once more. Raises FileChanged when it is not what it was, InvalidRequest."""
    try:
        fd = os.open(root + b"/" + file.path, _READ)
    except OSError as error:
        raise _unreadable(file.path, error) from error
    with open(fd, "rb", buffering=0) as opened:
        opened.seek(number * CHUNK_BYTES)
        chunk = _exactly(opened.fileno(), CHUNK_BYTES)
    if digest_of(chunk) != file.digests[number]:
        raise FileChanged(file.path)
    return chunk


def _chunks(fd: int) -> Iterator[bytes]:
    while chunk := _exactly(fd, CHUNK_BYTES):
        yield chunk


def _exactly(fd: int, length: int) -> bytes:
    """That many bytes, or all up to the end of the file."""
    first = os.read(fd, length)
    if len(first) == length or not first:
        return first
    pieces = [first]
    length -= len(first)
    while length and (piece := os.read(fd, length)):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _unreadable(path: bytes, error: OSError) -> InvalidRequest:
    if isinstance(error, FileNotFoundError):
        return InvalidRequest(f"{shown(path)} went away while the project was read; start again")
    return InvalidRequest(f"{shown(path)} cannot be read: {error.strerror}")
