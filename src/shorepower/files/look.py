"""Walking what a job made, one area of its working folder at a time. Symbolic links are never followed."""

from __future__ import annotations

import base64
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from msgspec import Struct

from ..model.errors import Fault, NotFound, StorageFault
from ..model.junk import is_environment, junk_kind
from ..model.patterns import Rules
from ..model.results import FileEntry
from ..model.tree import MAX_DEPTH, TreeEntry, decode_tree
from .blobs import BlobStore
from .compare import Comparison, read_digests
from .layout import Links

__all__ = ["Looker"]

_MOST_ENTRIES = 500_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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


class Looker:
    """Walks one area."""

    def __init__(
        self,
        blobs: BlobStore,
        compared: Comparison,
        *,
        area: str,
        only: Rules,
        without: Rules,
        digests: bool,
        check: Callable[[], None],
    ) -> None:
        """``only`` narrows and ``without`` leaves out, both by paths below the folder looked at."""
        self._blobs, self._compared, self._area = blobs, compared, area
        self._only, self._without, self._digests, self._check = only, without, digests, check
        self._prefix: bytes = b""
        self._named: frozenset[bytes] = frozenset()
        self.entries: list[FileEntry] = []
        self.faults: list[Fault] = []
        self.is_full = False
        """There was more than a listing holds."""

    def look(
        self,
        top: Path,
        tree: str | None,
        links: Links,
        *,
        prefix: bytes = b"",
        named: Iterable[bytes] = (),
    ) -> None:
        """List the folder ``top``, which was laid out from ``tree`` and ``links``.

        ``prefix`` is its own path in the area; what is ``named`` is listed in spite of all rules. Raises
        NotFound (the project is gone), StorageFault (it cannot be read at all), BlobLost.
        """
        self._prefix = prefix
        self._named = frozenset(part for path in named for part in _with_folders(path))
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
            self.is_full = True
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
        if wanted and not holds_something and sent is None and not isinstance(below, dict):
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
        text, b64 = _spell(_join(self._prefix, path))
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
        text = _join(self._prefix, path).decode(errors="backslashreplace")
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
