"""A snapshot becomes a folder: verified object by object, by reflink or copy, never by hard link."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..model.job import Link
from .blobs import BlobStore

__all__ = ["missing_objects", "objects", "stage"]


def nothing() -> None:
    """The check that never objects."""


def stage(
    blobs: BlobStore,
    tree: str | None,
    project: Path,
    *,
    links: Sequence[Link] = (),
    check: Callable[[], None] = nothing,
) -> None:
    """Build the snapshot as the folder ``project``, whole or not at all.

    Built in ``<project>.part`` (a half-built one of a dead run is removed) and renamed; a ``project``
    that is already there is left as it is. ``tree`` None gives an empty folder. Every object is verified
    while it is copied; modes and times of files and folders are those of the snapshot. ``links`` become
    symbolic links; what they point to need not exist. Beside it ``<project>.staged`` marks the moment
    for `collect`. ``check`` is called now and then and may raise to give up.

    Raises BlobLost (send again), InvalidRequest (a tree that names ``..``, is too deep, lies about a
    size, or a link over a sent file), StorageFault (disk full: try again); nothing is left half-built.
    """
    raise NotImplementedError


def objects(blobs: BlobStore, tree: str) -> Iterator[str]:
    """Every digest that a snapshot needs, its root first; some may come twice. Raises BlobLost for a
    tree object that is not there."""
    raise NotImplementedError


def missing_objects(blobs: BlobStore, tree: str, *, limit: int = 1000) -> list[str]:
    """The digests a snapshot needs that are not there, at most ``limit``; empty when it can be staged.

    Sub-trees found whole before are not looked at again until some blob is deleted.
    Raises InvalidRequest when the root, or an object below it, is no tree object.
    """
    raise NotImplementedError
