"""The walk over a project: folders before what is in them, each name judged once."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from ..model.errors import Fault, InvalidRequest
from ..model.job import Link
from ..model.junk import is_environment, is_secret_like, junk_kind
from ..model.tree import MAX_DEPTH
from .ignore import Ignoring, Level, Verdict
from .names import shown
from .tally import Met, Node, Room, measure
from .view import Data, Item, NotSent

__all__ = ["Candidate", "Policy", "Walk"]

_LFS_START = b"version https://git-lfs.github.com/spec/"
_LFS_SIZES = range(100, 1024)
"""Bytes of a pointer. Source: git-lfs, docs/spec.md: less than 1024."""
_LFS_MOST = 1000

UNREADABLE = "not sent, because it cannot be read: {}"
STRANGE = "not sent, because it is neither file, folder nor link: {}"
LEAVES_HERE = "links lead out of the project, to the originals: {}"
LEAVES_ELSEWHERE = "links lead out of the project and dangle where that is not there: {}"
DANGLES = "links lead nowhere: {}"
ODD_LINK = "cannot be linked because the name is not UTF-8: {}"
INCLUDED = "secret-like files travel because --include names them: {}"
POINTERS = "Git LFS pointers are sent, not their content ('git lfs pull' fetches it): {}"
TOO_DEEP = f"not sent, because it is more than {MAX_DEPTH} folders deep: {{}}"


class Policy(Struct, frozen=True, kw_only=True):
    """How a walk decides."""

    here: bool
    data: Mapping[bytes, Data]
    """By path in the project."""
    beside: frozenset[bytes]
    measure_files: int


class Candidate(Struct, frozen=True):
    """Something that git ignores, to be decided when all of it is known."""

    path: bytes
    parent: Node
    level: Level
    is_dir: bool


class Walk:
    """One walk over one project."""

    def __init__(self, root: Path, ignoring: Ignoring, policy: Policy) -> None:
        self._root = os.fsencode(root)
        self._ignoring, self._policy = ignoring, policy
        self._above_data = {folder for path in policy.data for folder in _folders_above(path)}
        self._measure_left = policy.measure_files
        self._has_lfs = False
        self._pointers: list[bytes] = []
        self.candidates: list[Candidate] = []

    def folder(
        self,
        path: bytes,
        parent: Node | None,
        above: Level | None,
        state: Verdict,
        met: Met,
        room: Room,
    ) -> Node | None:
        """Walk one folder; it is part of ``parent`` from the start. None: it is not part of the project.

        Raises Full, and InvalidRequest when it is the project itself and cannot be read.
        """
        full = self._root + b"/" + path if path else self._root
        try:
            status = os.stat(full, follow_symlinks=False)
            with os.scandir(full) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if not path:
                told = f"the project {shown(self._root)} cannot be read: {error.strerror}"
                raise InvalidRequest([Fault("--project", told)]) from error
            self._leave(path + b"/", "unreadable", met)
            met.name(UNREADABLE, shown(path) + "/")
            return None
        names = {entry.name for entry in listed}
        if path and is_environment(names):
            self._environment(path, met)
            return None
        if path.count(b"/") >= MAX_DEPTH:
            met.name(TOO_DEEP, shown(path))
            return None
        node = Node(path.rpartition(b"/")[2], stat.S_IMODE(status.st_mode) & 0o777, status.st_mtime_ns)
        if parent is not None:
            parent.folders[node.name] = node
        level = self._ignoring.enter(path, names, above, state)
        if b".gitattributes" in names and not self._has_lfs:
            self._has_lfs = b"filter=lfs" in _beginning(full + b"/.gitattributes", 1 << 16)
        for entry in listed:
            self._name(entry, path + b"/" + entry.name if path else entry.name, node, level, met, room)
        return node

    def file(self, path: bytes, parent: Node, met: Met, room: Room) -> None:
        """Take one file or link. Raises Full."""
        full = self._root + b"/" + path
        try:
            status = os.stat(full, follow_symlinks=False)
            name = path.rpartition(b"/")[2]
            mode = stat.S_IMODE(status.st_mode) & 0o777
            if stat.S_ISLNK(status.st_mode):
                target = self._target(path, os.readlink(full), met)
                parent.add(Item(name, "link", mode, status.st_mtime_ns, target=target))
                room.take(0)
                return
        except OSError:
            return  # it vanished
        if not stat.S_ISREG(status.st_mode):
            met.name(STRANGE, shown(path))
        elif not status.st_mode & stat.S_IROTH and not os.access(full, os.R_OK):
            self._leave(path, "unreadable", met)
            met.name(UNREADABLE, shown(path))
        else:
            parent.add(
                Item(
                    name,
                    "file",
                    mode,
                    status.st_mtime_ns,
                    status.st_size,
                    b"",
                    status.st_ino,
                    status.st_ctime_ns,
                )
            )
            if self._has_lfs and status.st_size in _LFS_SIZES and len(self._pointers) < _LFS_MOST:
                self._pointers.append(path)
            room.take(status.st_size)

    def build(self, one: Candidate, met: Met, room: Room) -> Node:
        """A folder that holds only this candidate, all of it. Raises Full."""
        aside = Node(b"", 0o755, 0)
        if one.is_dir:
            self.folder(one.path, aside, one.level, Verdict.FREE, met, room)
        else:
            self.file(one.path, aside, met, room)
        return aside

    def link(self, path: bytes, why: str, met: Met, target: str | None = None) -> None:
        """Let the staged copy point to the original, or to ``target``."""
        full = self._root + b"/" + path
        link = Link(path=os.fsdecode(path), target=target or os.fsdecode(full))
        if not _is_text(link.path) or not _is_text(link.target):
            met.name(ODD_LINK, shown(path))
            return
        met.links.append(link)
        if why == "secret-like" or why == "environment":
            self._leave(path + b"/" if os.path.isdir(full) else path, why, met, linked=True)
        else:
            self.leave_measured(path, os.path.isdir(full), why, met, linked=True)

    def leave_measured(self, path: bytes, is_dir: bool, why: str, met: Met, linked: bool = False) -> None:
        """Say that something stays, with its size as far as looking is allowed."""
        full = self._root + b"/" + path
        if is_dir:
            size, count, whole = measure(full, self._measure_left)
            self._measure_left = max(0, self._measure_left - count)
        else:
            try:
                size, whole = os.stat(full, follow_symlinks=False).st_size, True
            except OSError:  # it vanished, or --data that is only there
                size, whole = None, True
        text = shown(path) + ("/" if is_dir else "")
        met.left.append(NotSent(path=text, why=why, size_bytes=size, at_least=not whole, linked=linked))

    def name_pointers(self, met: Met) -> None:
        """Look which of the small files are Git LFS pointers."""
        for path in self._pointers:
            if _beginning(self._root + b"/" + path, len(_LFS_START)) == _LFS_START:
                met.name(POINTERS, shown(path))

    def _name(
        self, entry: os.DirEntry[bytes], path: bytes, parent: Node, level: Level, met: Met, room: Room
    ) -> None:
        is_dir, is_link = entry.is_dir(follow_symlinks=False), entry.is_symlink()
        junk = junk_kind(parent.name, entry.name, is_dir or is_link)
        if junk and junk != "environment":
            return
        if path in self._policy.beside:
            self._leave(path, "put there by a pull", met)
            return
        if path in self._policy.data:
            self._data(path, met)
            return
        verdict = self._ignoring.judge(level, path, is_dir)
        if verdict is not Verdict.SHORE:
            if junk:
                self._environment(path, met)
                return
            if is_secret_like(entry.name) and not self._may_send_secret(path, is_dir, met):
                return
        if not verdict.sent:
            self._ignored(path, is_dir, verdict, parent, level, met, room)
        elif is_dir:
            self.folder(path, parent, level, verdict, met, room)
        else:
            self.file(path, parent, met, room)

    def _ignored(
        self, path: bytes, is_dir: bool, verdict: Verdict, parent: Node, level: Level, met: Met, room: Room
    ) -> None:
        """Something that rules take; if part of it is given back, the rest is decided piece by piece."""
        if is_dir and (path in self._above_data or self._ignoring.may_hold_sent(level, path)):
            inner, before = Met(), len(self.candidates)
            node = self.folder(path, parent, level, verdict, inner, room)
            if node is None or node.items or node.folders or path in self._above_data:
                met.add(inner)
                return
            del parent.folders[node.name]
            del self.candidates[before:]
        if verdict is Verdict.GIT:
            self.candidates.append(Candidate(path, parent, level, is_dir))
        elif level.state is not Verdict.SHORE:
            self.leave_measured(path, is_dir, verdict.value, met)

    def _may_send_secret(self, path: bytes, is_dir: bool, met: Met) -> bool:
        if self._policy.here:
            self.link(path, "secret-like", met)
        elif self._ignoring.includes(path, is_dir):
            met.name(INCLUDED, shown(path))
            return True
        else:
            self._leave(path + b"/" if is_dir else path, "secret-like", met)
        return False

    def _environment(self, path: bytes, met: Met) -> None:
        if self._policy.here:
            self.link(path, "environment", met)
        else:
            self._leave(path + b"/", "environment", met)

    def _data(self, path: bytes, met: Met) -> None:
        data = self._policy.data[path]
        self.link(path, "--data", met, None if self._policy.here else data.target)

    def _leave(self, path: bytes, why: str, met: Met, linked: bool = False) -> None:
        met.left.append(NotSent(path=shown(path), why=why, linked=linked))

    def _target(self, path: bytes, target: bytes, met: Met) -> bytes:
        """What a link should hold in the staged copy. A relative one that leaves the project would lead
        astray there, so where the original can be seen it becomes absolute."""
        folder = self._root + b"/" + path.rpartition(b"/")[0]
        lead = os.path.normpath(os.path.join(folder, target))
        if not os.path.lexists(os.path.join(folder, target)):
            met.name(DANGLES, f"{shown(path)} → {shown(target)}")
        if not target.startswith(b"/") and (lead == self._root or lead.startswith(self._root + b"/")):
            return target
        met.name(LEAVES_HERE if self._policy.here else LEAVES_ELSEWHERE, f"{shown(path)} → {shown(target)}")
        if not self._policy.here or target.startswith(b"/"):
            return target
        raw = os.path.join(os.path.realpath(folder), target)
        return lead if os.path.realpath(raw) == os.path.realpath(lead) else raw


def _folders_above(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:depth]) for depth in range(1, len(parts))]


def _beginning(file: bytes, length: int) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(length)
    except OSError:
        return b""


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
