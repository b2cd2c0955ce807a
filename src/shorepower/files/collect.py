"""What a job made: the files of its working folder that are new or changed against the snapshot.

``work`` is always the working folder of one submission: ``work/project`` (staged by `stage`) and
``work/results`` (SHOREPOWER_RESULTS_DIR). Symbolic links are never followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from ..model.errors import Fault
from ..model.job import Link
from ..model.results import FileEntry
from .blobs import BlobStore
from .stage import nothing

__all__ = ["Listing", "decode_listing", "encode_listing", "list_changes", "open_result", "read"]


class Listing(Struct, frozen=True, kw_only=True):
    """What came out, and what could not be looked at."""

    entries: tuple[FileEntry, ...] = ()
    """By area and path."""
    faults: tuple[Fault, ...] = ()
    """``field`` is the path as text; not empty means that the results are partial."""

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size_bytes for entry in self.entries)


def list_changes(
    blobs: BlobStore,
    tree: str | None,
    work: Path,
    *,
    links: Sequence[Link] = (),
    results: Sequence[str] = (),
    hold_back: Sequence[str] = (),
    digests: bool,
    check: Callable[[], None] = nothing,
) -> Listing:
    """New and changed files, links, and new empty folders; of a running job, or at its end.

    With ``digests`` every file is read and carries its SHA-256. Unchanged is what has the snapshot's
    size and time and was not touched since staging, or else the snapshot's content and mode. The junk
    list and ``hold_back`` (gitignore lines) leave out; ``results`` (globs, gitignore style) narrows the
    area ``project``, never ``results``. Raises BlobLost when the snapshot cannot be read any more,
    NotFound when the working folder is gone, StorageFault when it cannot be read at all.
    """
    raise NotImplementedError


def open_result(work: Path, path: bytes, area: str = "project") -> int:
    """A descriptor of one regular file, opened without following any link and never outside the area.

    Raises NotFound when there is no such regular file, InvalidRequest for a path that leaves the area.
    The caller closes it.
    """
    raise NotImplementedError


def read(
    work: Path, path: bytes, area: str = "project", *, offset: int = 0, length: int = 1 << 20
) -> bytes:
    """Up to ``length`` bytes of one file from ``offset``; empty at its end. Raises as `open_result`."""
    raise NotImplementedError


def encode_listing(listing: Listing) -> bytes:
    """The stored form of a listing."""
    raise NotImplementedError


def decode_listing(data: bytes) -> Listing:
    """The listing stored by any version. Raises ValueError."""
    raise NotImplementedError
