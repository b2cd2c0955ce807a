"""The inputs of a job go once its results are collected."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from ..model.errors import StorageFault
from ..model.job import Link
from ..model.tree import TreeEntry, decode_tree
from .blobs import BlobStore
from .compare import Comparison
from .layout import Links, links_by_folder, nothing

__all__ = ["trim"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def trim(
    blobs: BlobStore,
    tree: str | None,
    work: Path,
    *,
    links: Sequence[Link] = (),
    check: Callable[[], None] = nothing,
) -> int:
    """Remove the staged inputs that did not change, and sent folders that are empty by that; bytes freed.

    Only after results were collected whole. What the job made or changed stays, listed or not; an input
    that cannot be removed stays too. Twice is harmless. Raises BlobLost, StorageFault.
    """
    try:
        top = os.open(work / "project", _FOLDER)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageFault(f"the working folder {work} cannot be read: {error.strerror}") from error
    try:
        trimming = _Trimming(blobs, Comparison(work / "project", check), check)
        trimming.folder(top, tree, links_by_folder(links))
        return trimming.freed
    finally:
        os.close(top)


class _Trimming:
    def __init__(self, blobs: BlobStore, compared: Comparison, check: Callable[[], None]) -> None:
        self._blobs, self._compared, self._check = blobs, compared, check
        self.freed = 0

    def folder(self, fd: int, tree: str | None, links: Links) -> None:
        """Trim what is in one open folder."""
        self._check()
        entries = decode_tree(self._blobs.get(tree)) if tree is not None else ()
        mode = os.fstat(fd).st_mode
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            os.fchmod(fd, mode | stat.S_IRWXU)
        for entry in entries:
            below = links.get(entry.name)
            self._try(fd, entry.name, entry, below if isinstance(below, dict) else {})
        sent = {entry.name for entry in entries}
        for name, target in links.items():
            if name in sent:
                continue
            if isinstance(target, dict):
                self._try(fd, name, None, target)
            else:
                link = TreeEntry(name=name, kind="link", mode=0o777, mtime_ns=0, target=target)
                self._try(fd, name, link, {})

    def _try(self, fd: int, name: bytes, known: TreeEntry | None, links: Links) -> None:
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                if self._compared.unchanged(fd, name, status, known):
                    os.unlink(name, dir_fd=fd)
                    self.freed += status.st_blocks * 512
                return
            if known is not None and known.kind != "dir":
                return
            inner = os.open(name, _FOLDER, dir_fd=fd)
            try:
                self.folder(inner, known.digests[0] if known is not None else None, links)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=fd)
        except OSError:
            return  # not empty, changed, or not removable: it stays
