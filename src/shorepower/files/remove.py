"""Working folders go: the inputs once results are collected, everything once they expire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..model.job import Link
from .blobs import BlobStore
from .stage import nothing

__all__ = ["remove", "size_on_disk", "trim"]


def trim(
    blobs: BlobStore,
    tree: str | None,
    work: Path,
    *,
    links: Sequence[Link] = (),
    check: Callable[[], None] = nothing,
) -> int:
    """Remove the staged inputs that did not change, and folders that are empty by that; bytes freed.

    Only after results were collected whole. What the job made or changed stays, listed or not.
    Twice is harmless. Raises BlobLost, StorageFault.
    """
    raise NotImplementedError


def remove(folder: Path) -> int:
    """Remove a folder and all below it, read-only folders of jobs too; bytes freed.

    Links are removed, never followed. Not there is harmless, and so is going on after a crash.
    Raises StorageFault, naming the first path that resists, after removing all the others.
    """
    raise NotImplementedError


def size_on_disk(folder: Path) -> int:
    """Bytes that a folder takes; 0 when it is not there. What cannot be looked at is not counted."""
    raise NotImplementedError
