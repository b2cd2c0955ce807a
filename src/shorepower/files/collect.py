"""What a job made: the files of its working folder that are new or changed against the snapshot.

``work`` is always the working folder of one submission: ``work/project`` (staged by `stage`) and
``work/results`` (SHOREPOWER_RESULTS_DIR), or of an array ``work/tasks/<index>``. Symbolic links are never
followed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import zstandard
from msgspec import Struct

from ..model.decoding import json_decoder
from ..model.errors import Fault, InvalidRequest, NotFound, StorageFault
from ..model.job import Link
from ..model.names import quoted
from ..model.patterns import Rules
from ..model.results import FileEntry
from .blobs import BlobStore
from .compare import Comparison, open_file
from .layout import links_by_folder, nothing, parts_of
from .look import Looker
from .mirror import Mirror, indices_in

__all__ = [
    "Listing",
    "decode_listing",
    "encode_listing",
    "list_changes",
    "list_tasks",
    "open_result",
    "read",
]

_MOST_FAULTS = 100
_AREAS = ("project", "results", "tasks")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Listing(Struct, frozen=True, kw_only=True):
    """What came out, and what could not be looked at."""

    entries: tuple[FileEntry, ...] = ()
    """By area and path."""
    faults: tuple[Fault, ...] = ()
    """``field`` is the path as text; not empty means that the results are partial."""
    notes: tuple[str, ...] = ()
    """What is to be told of them, though nothing is missing."""

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
    named: Sequence[bytes] = (),
    digests: bool,
    check: Callable[[], None] = nothing,
) -> Listing:
    """New and changed files, links, and new empty folders; of a running job, or at its end.

    With ``digests`` every file is read and carries its SHA-256. Unchanged is what has the snapshot's
    size and time and was not touched since staging, or else the snapshot's content and mode. The junk
    list and ``hold_back`` (gitignore lines) leave out; ``results`` (globs, gitignore style) narrows the
    area ``project``, never ``results``. What is ``named`` in ``project`` is listed in spite of both.
    Raises BlobLost when the snapshot cannot be read any more, NotFound when the working folder is gone,
    StorageFault when it cannot be read at all.
    """
    compared = Comparison(work / "project", check)
    found: list[FileEntry] = []
    faults: list[Fault] = []
    for area in ("project", "results"):
        is_project = area == "project"
        looker = Looker(
            blobs,
            compared,
            area=area,
            only=Rules(results if is_project else ()),
            without=Rules(hold_back if is_project else ()),
            digests=digests,
            check=check,
        )
        if is_project:
            looker.look(work / area, tree, links_by_folder(links), named=named)
        else:
            looker.look(work / area, None, {})
        found += looker.entries
        faults += looker.faults
    return Listing(entries=tuple(found), faults=tuple(faults[:_MOST_FAULTS]))


def list_tasks(
    blobs: BlobStore,
    work: Path,
    mirror: Mirror,
    *,
    results: Sequence[str] = (),
    hold_back: Sequence[str] = (),
    named: Mapping[int, Sequence[bytes]] = {},
    digests: bool,
    check: Callable[[], None] = nothing,
) -> Listing:
    """What the tasks of an array wrote into their folders, while they run or at the end; paths begin with
    the index.

    As `list_changes`, but that ``results`` and ``hold_back`` go by paths in a task's own folder, as
    ``named`` does, which is told by index. A folder that cannot be read is a fault of that task.
    """
    looker = Looker(
        blobs,
        Comparison(work / "project", check),
        area="tasks",
        only=Rules(results),
        without=Rules(hold_back),
        digests=digests,
        check=check,
    )
    try:
        indices, shape = indices_in(work / "tasks"), mirror.shape
    except FileNotFoundError as error:
        raise NotFound(f"the working folder {work} is not there any more") from error
    except OSError as error:
        raise StorageFault(f"the working folder {work} cannot be read: {error.strerror}") from error
    for index in indices:
        if looker.is_full:
            break
        try:
            own = named.get(index, ())
            looker.look(work / "tasks" / str(index), None, shape, prefix=b"%d" % index, named=own)
        except StorageFault as fault:
            looker.faults.append(Fault(str(index), f"could not be collected: {fault}"))
    return Listing(entries=tuple(looker.entries), faults=tuple(looker.faults[:_MOST_FAULTS]))


def open_result(work: Path, path: bytes, area: str = "project") -> int:
    """A descriptor of one regular file, opened without following any link and never outside the area.

    Raises NotFound when there is no such regular file, InvalidRequest for a path that leaves the area.
    The caller closes it.
    """
    if area not in _AREAS:
        raise InvalidRequest(f"no area {area!r}; choose one of: {', '.join(_AREAS)}")
    *folders, name = parts_of(path)
    try:
        fd = os.open(work / area, _FOLDER)
        try:
            for folder in folders:
                above, fd = fd, os.open(folder, _FOLDER, dir_fd=fd)
                os.close(above)
            return open_file(fd, name)
        finally:
            os.close(fd)
    except PermissionError as error:
        raise StorageFault(f"{quoted(path)} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise NotFound(f"there is no file {quoted(path)} among the results") from error


def read(
    work: Path, path: bytes, area: str = "project", *, offset: int = 0, length: int = 1 << 20
) -> bytes:
    """Up to ``length`` bytes of one file from ``offset``; empty at its end. Raises as `open_result`."""
    fd = open_result(work, path, area)
    try:
        return os.pread(fd, length, offset)
    except OSError as error:
        raise StorageFault(f"{quoted(path)} cannot be read: {error.strerror}") from error
    finally:
        os.close(fd)


def encode_listing(listing: Listing) -> bytes:
    """The stored form of a listing."""
    return zstandard.compress(msgspec.json.encode({"v": 1, "listing": listing}))


class _Stored(Struct):
    v: int
    listing: Listing


def decode_listing(data: bytes) -> Listing:
    """The listing stored by any version. Raises ValueError."""
    try:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            stored = json_decoder(_Stored).decode(reader.readall())
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise ValueError(f"not a listing of ours: {error}") from None
    if stored.v != 1:
        raise ValueError(f"a listing of version {stored.v}, which is not known here")
    return stored.listing
