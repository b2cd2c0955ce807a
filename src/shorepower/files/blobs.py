"""Content-addressed blobs: ``blobs/ab/cdef…`` below the state directory.

Blocking; called in worker threads. Safe for use by several threads at once; one process owns a root.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..model.errors import InvalidRequest

__all__ = ["BlobLost", "BlobStore"]


class BlobLost(InvalidRequest):
    """A blob that was relied on is not there, or is not what its name says; sending it again mends that."""


class BlobStore:
    """Blobs of at most 16 MiB, each under its digest. Making one touches no disk: see `prepare`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the folders and sweep what dead runs left half-written; once, before any other use.

        Raises StorageFault.
        """
        raise NotImplementedError

    def put(self, blobs: Iterable[tuple[str, bytes]]) -> int:
        """Keep blobs; all are on disk (one sync for the whole call) when this returns. Bytes newly kept.

        A blob already there is compared and, where it is damaged, replaced. Raises InvalidRequest when
        a digest does not fit its bytes or a blob is over 16 MiB, StorageFault when the disk refuses;
        then nothing of the call is visible, except perhaps some whole blobs.
        """
        raise NotImplementedError

    def get(self, digest: str) -> bytes:
        """The bytes, verified. Raises BlobLost, StorageFault."""
        raise NotImplementedError

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Those that are not there, in order, each once. Raises InvalidRequest for what is no digest."""
        raise NotImplementedError

    def delete(self, digests: Iterable[str]) -> int:
        """Remove these where they are there; bytes freed."""
        raise NotImplementedError

    def each(self) -> Iterator[tuple[str, int, float]]:
        """(digest, size in bytes, seconds since the epoch when it was kept) of every blob; no order."""
        raise NotImplementedError

    def size_bytes(self) -> int:
        """What all blobs take on disk."""
        raise NotImplementedError
