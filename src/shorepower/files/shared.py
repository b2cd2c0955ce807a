"""Whether tasks wrote into the tree that they share: mode bits forbid it, but not to root or to a chmod."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ..model.job import Link
from ..model.junk import junk_kind
from ..model.tree import TreeEntry, decode_tree
from .blobs import BlobStore
from .layout import Links, links_by_folder, nothing

__all__ = ["changes_in"]


def changes_in(
    blobs: BlobStore,
    tree: str,
    project: Path,
    *,
    links: Sequence[Link] = (),
    limit: int = 5,
    check: Callable[[], None] = nothing,
) -> list[str]:
    """Paths in a staged tree that are not as they were staged, by size and time; at most ``limit``.

    Raises BlobLost when the snapshot cannot be read any more.
    """
    found = _changes(blobs, tree, os.fsencode(project), b"", links_by_folder(links), check)
    return [os.fsdecode(path) for path in islice(found, limit)]


def _changes(
    blobs: BlobStore, tree: str | None, top: bytes, path: bytes, links: Links, check: Callable[[], None]
) -> Iterator[bytes]:
    check()
    entries = decode_tree(blobs.get(tree)) if tree is not None else ()
    known = {entry.name: entry for entry in entries}
    there = _statuses(os.path.join(top, path))
    for name in sorted({*known, *links, *there}):
        place = os.path.join(path, name)
        status, entry, link = there.get(name), known.get(name), links.get(name)
        if status is not None and _is_folder(status, entry, link):
            below = entry.digests[0] if entry is not None else None
            inner = link if isinstance(link, dict) else {}
            yield from _changes(blobs, below, top, place, inner, check)
        elif not _is_same(status, entry, link) and not _is_junk(path, name, status):
            yield place


def _statuses(folder: bytes) -> dict[bytes, os.stat_result]:
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found[entry.name] = entry.stat(follow_symlinks=False)
    except OSError:
        pass  # what was sent of it counts as changed
    return found


def _is_folder(status: os.stat_result, entry: TreeEntry | None, link: bytes | Links | None) -> bool:
    sent = entry.kind == "dir" if entry is not None else isinstance(link, dict)
    return sent and stat.S_ISDIR(status.st_mode)


def _is_same(status: os.stat_result | None, entry: TreeEntry | None, link: bytes | Links | None) -> bool:
    if status is None:
        return False
    if isinstance(link, bytes) or (entry is not None and entry.kind == "link"):
        return stat.S_ISLNK(status.st_mode)
    if entry is None or entry.kind != "file" or not stat.S_ISREG(status.st_mode):
        return False
    return (status.st_size, status.st_mtime_ns) == (entry.size_bytes, entry.mtime_ns)


def _is_junk(path: bytes, name: bytes, status: os.stat_result | None) -> bool:
    """Caches of an interpreter, for one, which root's tasks leave in it."""
    is_folder = status is not None and stat.S_ISDIR(status.st_mode)
    return bool(junk_kind(path.rpartition(b"/")[2], name, is_folder))
