"""A snapshot becomes a folder: verified object by object, by reflink or copy, never by hard link.

Everything is made relative to the open folder above it, exclusively, so nothing is ever written through
a link that somebody put in the way.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..host.disk import boot_id, clone_range
from ..model.errors import InvalidRequest, StorageFault
from ..model.job import Link
from ..model.names import quoted
from ..model.tree import CHUNK_BYTES, MAX_DEPTH, TreeEntry, decode_tree
from .blobs import BlobLost, BlobStore
from .layout import PYTHON_CACHE, Links, links_by_folder, marker_of, nothing
from .remove import remove

__all__ = ["missing_objects", "objects", "stage"]

_MOST_ENTRIES = 2_000_000
"""A tree object may be named twice; so a small snapshot could otherwise fill a disk."""
_CLONE_FROM_BYTES = 256 << 10
"""Below that a copy is cheaper than asking for a reflink."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def stage(
    blobs: BlobStore,
    tree: str | None,
    project: Path,
    *,
    links: Sequence[Link] = (),
    read_only: bool = False,
    check: Callable[[], None] = nothing,
) -> None:
    """Build the snapshot as the folder ``project``, whole or not at all.

    Built in ``<project>.part`` (a half-built one of a dead run is removed) and renamed; a ``project``
    that is already there is left as it is, unless it was staged before the machine last started: then
    it may not be whole on disk, and is put aside. ``tree`` None gives an empty folder. Every object is
    verified while it is copied; modes and times of files and folders are those of the snapshot, but that
    nobody may write if it is ``read_only``: only Python's compiled modules, which many tasks share then.
    ``links`` become symbolic links; what they point to need not exist. Beside it ``<project>.staged``
    marks the moment for `list_changes`. ``check`` is called now and then and may raise to give up.

    Raises BlobLost (send again), InvalidRequest (a tree that names ``..``, is too deep, lies about a
    size, or a link over a sent file), StorageFault (disk full: try again); nothing is left half-built.
    """
    part, marker = project.with_name(project.name + ".part"), marker_of(project)
    by_folder = links_by_folder(links)
    try:
        if project.is_dir() and not project.is_symlink():
            if _staged_since_start(marker):
                return
            aside = project.with_name(project.name + ".before")
            remove(aside)
            os.rename(project, aside)
        remove(part)
        os.mkdir(part, 0o700)
        builder = _Builder(blobs, check, ~0o222 if read_only else ~0)
        fd = os.open(part, _FOLDER)
        try:
            builder.fill(fd, tree, by_folder, 0)
            if read_only:
                os.fchmod(fd, 0o500)
        finally:
            os.close(fd)
        marker.unlink(missing_ok=True)
        marker.write_text(boot_id())
        os.rename(part, project)
    except OSError as error:
        _give_up(part)
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "the disk is full" if full else error.strerror or str(error)
        raise StorageFault(f"the project cannot be laid out in {project}: {why}") from error
    except BaseException:
        _give_up(part)
        raise


def objects(blobs: BlobStore, tree: str) -> Iterator[str]:
    """Every digest that a snapshot needs, its root first; each tree object once, other blobs perhaps
    more often. Raises BlobLost for a tree object that is not there."""
    seen, waiting = {tree}, [tree]
    while waiting:
        digest = waiting.pop()
        yield digest
        for entry in decode_tree(blobs.get(digest)):
            if entry.kind != "dir":
                yield from entry.digests
            elif entry.digests[0] not in seen:
                seen.add(entry.digests[0])
                waiting.append(entry.digests[0])


def missing_objects(blobs: BlobStore, tree: str, *, limit: int = 1000) -> list[str]:
    """The digests a snapshot needs that are not there, at most ``limit``; empty when it can be staged.

    Sub-trees found whole before are not looked at again until some blob is deleted.
    Raises InvalidRequest when the root, or an object below it, is no tree object.
    """
    found: dict[str, None] = {}
    _look_for_missing(blobs, tree, found, limit, 0)
    return list(found)[:limit]


def _look_for_missing(blobs: BlobStore, tree: str, found: dict[str, None], limit: int, depth: int) -> bool:
    """Whether everything below a tree object is there."""
    if tree in blobs.whole_trees:
        return True
    if len(found) >= limit:
        return False
    deletions = blobs.deletions
    try:
        entries = decode_tree(blobs.get(tree))
    except BlobLost:
        found[tree] = None
        return False
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"the snapshot has more than {MAX_DEPTH} folders inside each other")
    chunks = [digest for entry in entries if entry.kind == "file" for digest in entry.digests]
    missing = blobs.missing(chunks)
    found.update(dict.fromkeys(missing))
    whole = not missing
    for entry in entries:
        if entry.kind == "dir":
            whole &= _look_for_missing(blobs, entry.digests[0], found, limit, depth + 1)
    if whole:
        blobs.remember_whole(tree, deletions)
    return whole


class _Builder:
    """Fills open folders."""

    def __init__(self, blobs: BlobStore, check: Callable[[], None], modes: int) -> None:
        """``modes``: the bits of a mode that are kept."""
        self._blobs, self._check, self._modes = blobs, check, modes
        self._entries_left = _MOST_ENTRIES
        self._may_clone = True

    def fill(self, folder: int, tree: str | None, links: Links, depth: int) -> None:
        """Make everything of one folder, those below included."""
        self._check()
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"the snapshot has more than {MAX_DEPTH} folders inside each other")
        entries = decode_tree(self._blobs.get(tree)) if tree is not None else ()
        self._entries_left -= len(entries)
        if self._entries_left < 0:
            raise InvalidRequest(f"the snapshot has more than {_MOST_ENTRIES} files")
        links = dict(links)
        for entry in entries:
            wanted = links.pop(entry.name, None)
            if wanted is not None and (entry.kind != "dir" or isinstance(wanted, bytes)):
                raise InvalidRequest(f"a link stands where {quoted(entry.name)} was sent")
            if entry.kind == "dir":
                below = wanted if isinstance(wanted, dict) else {}
                self._folder(folder, entry.name, entry, below, depth)
            elif entry.kind == "link":
                os.symlink(entry.target, entry.name, dir_fd=folder)
                times = (entry.mtime_ns, entry.mtime_ns)
                os.utime(entry.name, ns=times, dir_fd=folder, follow_symlinks=False)
            else:
                self._file(folder, entry)
        for name, target in links.items():
            if isinstance(target, bytes):
                os.symlink(target, name, dir_fd=folder)
            else:
                self._folder(folder, name, None, target, depth)
        names = {entry.name for entry in entries}
        if self._modes != ~0 and PYTHON_CACHE not in names and any(name.endswith(b".py") for name in names):
            os.mkdir(PYTHON_CACHE, 0o755, dir_fd=folder)

    def _folder(self, above: int, name: bytes, entry: TreeEntry | None, links: Links, depth: int) -> None:
        """``entry`` None: a folder that is there only because links stand in it."""
        os.mkdir(name, 0o700, dir_fd=above)
        folder = os.open(name, _FOLDER, dir_fd=above)
        try:
            self.fill(folder, entry.digests[0] if entry is not None else None, links, depth + 1)
            os.fchmod(folder, (entry.mode if entry is not None else 0o755) & self._modes)
            if entry is not None:
                os.utime(folder, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(folder)

    def _file(self, folder: int, entry: TreeEntry) -> None:
        file = os.open(entry.name, _NEW, 0o600, dir_fd=folder)
        try:
            left, offset = entry.size_bytes, 0
            for digest in entry.digests:
                length = min(left, CHUNK_BYTES)
                self._chunk(file, digest, offset, length)
                left, offset = left - length, offset + length
            os.fchmod(file, entry.mode & self._modes)
            os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(file)

    def _chunk(self, file: int, digest: str, offset: int, length: int) -> None:
        if length >= _CLONE_FROM_BYTES:
            self._check()
        data = self._blobs.get(digest)
        if len(data) != length:
            raise InvalidRequest(f"the snapshot gives {digest} a size of {length}; it has {len(data)}")
        if length >= _CLONE_FROM_BYTES and self._clone(file, digest, offset, length):
            return
        view, written = memoryview(data), 0
        while written < length:
            written += os.pwrite(file, view[written:], offset + written)

    def _clone(self, file: int, digest: str, offset: int, length: int) -> bool:
        """Share the blob's space where the file system can."""
        if self._may_clone:
            blob = os.open(self._blobs.place(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self._may_clone = clone_range(blob, file, offset, length)
            finally:
                os.close(blob)
        return self._may_clone


def _staged_since_start(marker: Path) -> bool:
    try:
        return marker.read_text() == boot_id()
    except FileNotFoundError:
        return False


def _give_up(part: Path) -> None:
    try:
        remove(part)
    except StorageFault:
        pass  # removed before the next try
