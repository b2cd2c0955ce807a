"""What lies at a path: the user's own, what was sent, or what a pull of ours wrote."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable

from ..model.errors import NotFound
from ..model.tree import CHUNK_BYTES, TreeEntry, decode_tree
from .landing import Landing

__all__ = ["FOLDER", "OTHER", "SentTree", "content_at", "link_content"]

FOLDER, OTHER = "dir", "other"
_PIECE_BYTES = 1 << 20


def link_content(target: str) -> str:
    """How a link's content is written where a file has its digest."""
    return f"link:{target}"


def content_at(landing: Landing, path: str, status: os.stat_result) -> tuple[str, tuple[str, ...]]:
    """(content, digests of a file's chunks): ``sha256:…`` of a file, ``link:…``, ``dir``, or ``other``
    for what cannot be read or compared."""
    try:
        if stat.S_ISLNK(status.st_mode):
            return link_content(landing.read_link(path)), ()
        if stat.S_ISDIR(status.st_mode):
            return FOLDER, ()
        if stat.S_ISREG(status.st_mode):
            return _digests(landing.reader(path))
    except OSError:
        pass  # unreadable: the user's, then
    return OTHER, ()


def _digests(fd: int) -> tuple[str, tuple[str, ...]]:
    whole, chunks, chunk = hashlib.sha256(), [], hashlib.sha256()
    with open(fd, "rb", buffering=0) as file:
        size = os.fstat(fd).st_size
        offset = 0
        while piece := file.read(_PIECE_BYTES):
            whole.update(piece)
            offset += len(piece)
            if size > CHUNK_BYTES:
                chunk.update(piece)
                if offset % CHUNK_BYTES == 0:
                    chunks.append(f"sha256:{chunk.hexdigest()}")
                    chunk = hashlib.sha256()
    total = f"sha256:{whole.hexdigest()}"
    if size <= CHUNK_BYTES:
        return total, (total,) if offset else ()
    return total, (*chunks, f"sha256:{chunk.hexdigest()}") if offset % CHUNK_BYTES else tuple(chunks)


class SentTree:
    """The snapshot of a job, looked up path by path; one that is not kept any more holds nothing."""

    def __init__(self, tree: str | None, blob: Callable[[str], bytes]) -> None:
        self._root, self._blob = tree, blob
        self._folders: dict[str, dict[bytes, TreeEntry]] = {}

    def holds(self, path: str, content: str, chunks: tuple[str, ...]) -> bool:
        """Whether exactly this content was sent at this path."""
        entry = self._entry(os.fsencode(path))
        if entry is not None and entry.kind == "link":
            return content == link_content(os.fsdecode(entry.target))
        return self.mode(path, content, chunks) is not None

    def mode(self, path: str, content: str, chunks: tuple[str, ...]) -> int | None:
        """The permissions that a file was sent with, if exactly this content was sent at this path."""
        entry = self._entry(os.fsencode(path))
        same = entry is not None and entry.kind == "file" and content.startswith("sha256:")
        return entry.mode if entry is not None and same and chunks == entry.digests else None

    def _entry(self, path: bytes) -> TreeEntry | None:
        *folders, name = path.split(b"/")
        digest = self._root
        for folder in folders:
            above = self._folder(digest).get(folder)
            digest = above.digests[0] if above is not None and above.kind == "dir" else None
        return self._folder(digest).get(name)

    def _folder(self, digest: str | None) -> dict[bytes, TreeEntry]:
        if digest is None:
            return {}
        if digest not in self._folders:
            try:
                entries = decode_tree(self._blob(digest))
            except NotFound:
                entries = ()
            self._folders[digest] = {entry.name: entry for entry in entries}
        return self._folders[digest]
