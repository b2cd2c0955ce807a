"""What a job made: the files of its working folder that are new or changed against the snapshot.

``work`` is always the working folder of one submission: ``work/project`` (staged by `stage`) and
``work/results`` (SHOREPOWER_RESULTS_DIR). Symbolic links are never followed.
"""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import zstandard
from msgspec import Struct

from ..model.decoding import json_decoder
from ..model.errors import Fault, InvalidRequest, NotFound, StorageFault
from ..model.job import Link
from ..model.junk import is_environment, junk_kind
from ..model.patterns import Rules
from ..model.results import FileEntry
from ..model.tree import MAX_DEPTH, TreeEntry, decode_tree
from .blobs import BlobStore
from .compare import Comparison, open_file, read_digests
from .layout import Links, links_by_folder, nothing, parts_of

__all__ = ["Listing", "decode_listing", "encode_listing", "list_changes", "open_result", "read"]

_MOST_ENTRIES = 500_000
_MOST_FAULTS = 100
_AREAS = ("project", "results")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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
    for area in _AREAS:
        looker = _Looker(
            blobs,
            compared,
            area=area,
            only=Rules(results) if area == "project" else Rules(()),
            without=Rules(hold_back) if area == "project" else Rules(()),
            named=named if area == "project" else (),
            digests=digests,
            check=check,
        )
        if area == "project":
            looker.look(work / area, tree, links_by_folder(links))
        else:
            looker.look(work / area, None, {})
        found += looker.entries
        faults += looker.faults
    return Listing(entries=tuple(found), faults=tuple(faults[:_MOST_FAULTS]))


class _Full(Exception):
    """There are more entries than a listing holds."""


class _Place(Struct, frozen=True):
    """One open folder."""

    fd: int
    path: bytes
    known: dict[bytes, TreeEntry]
    links: Links
    wanted: bool
    """A glob takes everything in it, or there are no globs."""
    held: bool
    """It is held back, but for what is named."""


class _Looker:
    """Walks one area."""

    def __init__(
        self,
        blobs: BlobStore,
        compared: Comparison,
        *,
        area: str,
        only: Rules,
        without: Rules,
        named: Sequence[bytes],
        digests: bool,
        check: Callable[[], None],
    ) -> None:
        self._named = frozenset(part for path in named for part in _with_folders(path))
        self._blobs, self._compared, self._area = blobs, compared, area
        self._only, self._without, self._digests, self._check = only, without, digests, check
        self.entries: list[FileEntry] = []
        self.faults: list[Fault] = []

    def look(self, top: Path, tree: str | None, links: Links) -> None:
        """List the area whose folder is ``top``."""
        try:
            fd = os.open(top, _FOLDER)
        except FileNotFoundError:
            if self._area == "project":
                raise NotFound(f"the working folder {top} is not there any more") from None
            return
        except OSError as error:
            raise StorageFault(f"the working folder {top} cannot be read: {error.strerror}") from error
        try:
            self._folder(fd, b"", tree, links, not self._only, False)
        except _Full:
            most = f"more than {_MOST_ENTRIES} files came out; the others are not listed"
            self.faults.append(Fault("", most))
        except OSError as error:
            raise StorageFault(f"the working folder {top} cannot be read: {error.strerror}") from error
        finally:
            os.close(fd)

    def _folder(
        self, fd: int, path: bytes, tree: str | None, links: Links, wanted: bool, held: bool
    ) -> bool:
        """List one open folder; whether there is anything in it."""
        self._check()
        known = {entry.name: entry for entry in decode_tree(self._blobs.get(tree))} if tree else {}
        place = _Place(fd, path, known, links, wanted, held)
        with os.scandir(fd) as entries:
            names = sorted(os.fsencode(entry.name) for entry in entries)
        if path and is_environment(set(names)):
            return True
        parent = path.rpartition(b"/")[2]
        for name in names:
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if not junk_kind(parent, name, stat.S_ISDIR(status.st_mode)):
                    self._name(place, name, status)
            except FileNotFoundError:
                continue  # it went while we looked
            except OSError as error:
                self._fault(_join(path, name), error.strerror or str(error))
        return bool(names)

    def _name(self, place: _Place, name: bytes, status: os.stat_result) -> None:
        path, is_dir = _join(place.path, name), stat.S_ISDIR(status.st_mode)
        held = place.held or bool(self._without.decide(path, is_dir))
        if held and path not in self._named:
            return
        wanted = not held and (place.wanted or bool(self._only.decide(path, is_dir)))
        if is_dir:
            self._below(place, name, status, wanted, held)
        elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            link = place.links.get(name)
            if isinstance(link, bytes) and _points_to(place.fd, name, status, link):
                return
            known = place.known.get(name)
            wanted = wanted or path in self._named
            if wanted and not self._compared.unchanged(place.fd, name, status, known):
                self._list(place, name, status)

    def _below(self, place: _Place, name: bytes, status: os.stat_result, wanted: bool, held: bool) -> None:
        path = _join(place.path, name)
        if path.count(b"/") >= MAX_DEPTH:
            self._fault(path, f"more than {MAX_DEPTH} folders inside each other")
            return
        known, below = place.known.get(name), place.links.get(name)
        sent = known.digests[0] if known is not None and known.kind == "dir" else None
        links = below if isinstance(below, dict) else {}
        inner = os.open(name, _FOLDER, dir_fd=place.fd)
        try:
            holds_something = self._folder(inner, path, sent, links, wanted, held)
        finally:
            os.close(inner)
        if wanted and not holds_something and sent is None and not links:
            self._add(path, "dir", status)

    def _list(self, place: _Place, name: bytes, status: os.stat_result) -> None:
        path = _join(place.path, name)
        if stat.S_ISLNK(status.st_mode):
            self._add(path, "link", status, target=os.readlink(name, dir_fd=place.fd))
            return
        digest = ""
        if self._digests:
            read = self._compared.read.get((status.st_dev, status.st_ino))
            if read is None:
                read = read_digests(place.fd, name, self._check, chunks=False)
                status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            digest = read.whole
        self._add(path, "file", status, digest=digest)

    def _add(
        self, path: bytes, kind: str, status: os.stat_result, *, digest: str = "", target: bytes = b""
    ) -> None:
        if len(self.entries) >= _MOST_ENTRIES:
            raise _Full
        text, b64 = _spell(path)
        target_text, target_b64 = _spell(target)
        self.entries.append(
            FileEntry(
                path=text,
                path_b64=b64,
                kind=kind,
                mode=stat.S_IMODE(status.st_mode) & 0o777,
                mtime_ns=status.st_mtime_ns,
                size_bytes=status.st_size if kind == "file" else 0,
                digest=digest,
                target=target_text,
                target_b64=target_b64,
                area=self._area,
            )
        )

    def _fault(self, path: bytes, why: str) -> None:
        text = path.decode(errors="backslashreplace")
        self.faults.append(Fault(text, f"could not be collected: {why}"))


def _with_folders(path: bytes) -> list[bytes]:
    """A path and every folder above it."""
    parts = path.split(b"/")
    return [b"/".join(parts[: count + 1]) for count in range(len(parts))]


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _points_to(fd: int, name: bytes, status: os.stat_result, target: bytes) -> bool:
    return stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=fd) == target


def _spell(path: bytes) -> tuple[str, str]:
    try:
        return path.decode(), ""
    except UnicodeDecodeError:
        return "", base64.b64encode(path).decode()


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
        raise StorageFault(f"{os.fsdecode(path)!r} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise NotFound(f"there is no file {os.fsdecode(path)!r} among the results") from error


def read(
    work: Path, path: bytes, area: str = "project", *, offset: int = 0, length: int = 1 << 20
) -> bytes:
    """Up to ``length`` bytes of one file from ``offset``; empty at its end. Raises as `open_result`."""
    fd = open_result(work, path, area)
    try:
        return os.pread(fd, length, offset)
    except OSError as error:
        raise StorageFault(f"{os.fsdecode(path)!r} cannot be read: {error.strerror}") from error
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
