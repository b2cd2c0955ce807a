"""What of a project is sent, linked and left: frozen values for uploads, tests and screens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ..model.errors import TooLarge
from ..model.job import Link
from ..model.resources import counted
from .names import format_bytes, shown

__all__ = ["Data", "Folder", "Item", "Limits", "NotSent", "ProjectTooLarge", "ProjectView"]


class Data(Struct, frozen=True, kw_only=True):
    """One ``--data PATH[=TARGET]``: never sent, but linked."""

    path: str
    """As typed, relative to where the user stands."""
    target: str | None = None
    """Where it lies on the cluster; None: it is the original, on a shared file system."""


class Limits(Struct, frozen=True, kw_only=True):
    """When a scan stops."""

    max_bytes: int = 2 << 30
    max_files: int = 200_000
    copy_ignored_bytes: int = 256 << 20
    """Ignored files that are copied on this machine, together; larger folders become links."""
    copy_ignored_files: int = 20_000
    measure_files: int = 50_000
    """How many files are looked at only to say how large something is that is not sent."""


class ProjectTooLarge(TooLarge):
    """The scan met more than the limits allow and stopped; nothing was sent."""

    def __init__(self, size_bytes: int, file_count: int, largest: Sequence[tuple[str, int, int]]) -> None:
        met = ", ".join(
            f"{shown(path)} {format_bytes(size)}"
            + (f" in {counted(count, 'file')}" if path.endswith("/") else "")
            for path, size, count in largest
        )
        so_far = f"{format_bytes(size_bytes)} in {counted(file_count, 'file')} so far"
        super().__init__(
            f"the project is over the limit: {so_far}"
            + (f"; the largest met: {met}" if met else "")
            + ". Leave them out in .shoreignore, link them with --data, or raise --max-send"
        )
        self.size_bytes, self.file_count = size_bytes, file_count
        self.largest = tuple(largest)
        """(folder with its ``/``, or file; bytes, files) met so far, the largest first."""


class Item(Struct, frozen=True):
    """One file or symbolic link that is sent."""

    name: bytes
    kind: str
    """``file`` or ``link``."""
    mode: int
    mtime_ns: int
    size_bytes: int = 0
    target: bytes = b""
    inode: int = 0
    ctime_ns: int = 0


class Folder(Struct, frozen=True):
    """One folder that is sent."""

    name: bytes
    mode: int
    mtime_ns: int
    items: tuple[Item, ...] = ()
    folders: tuple[Folder, ...] = ()


class NotSent(Struct, frozen=True, kw_only=True):
    """Something that stays where it is."""

    path: str
    """Relative to the project; a folder ends in ``/``."""
    why: str
    """``.gitignore``, ``.shoreignore``, ``secret-like``, ``environment``, ``--data``, ``unreadable``, …"""
    size_bytes: int | None = None
    """None: not measured."""
    at_least: bool = False
    """Measuring stopped early; it is more."""
    linked: bool = False
    """The staged copy holds a link to the original."""

    def __str__(self) -> str:
        size = "" if self.size_bytes is None else f" {format_bytes(self.size_bytes)}"
        more = "more than" if self.at_least else ""
        return f"{shown(self.path)}{' ' if more else ''}{more}{size}"


class ProjectView(Struct, frozen=True, kw_only=True):
    """Everything that a submit needs to know of a project, at one moment."""

    root: Path
    workdir: str = ""
    why: str = ""
    tree: Folder
    links: tuple[Link, ...] = ()
    """For `JobSpec.links`."""
    hold_back: tuple[str, ...] = ()
    """For `JobSpec.hold_back`."""
    source_roots: tuple[str, ...] = ()
    """For `JobSpec.source_roots`: what editable installs of the project's own environment point to."""
    not_sent: tuple[NotSent, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences to show: links that leave the project, skipped files, LFS pointers, …"""
    size_bytes: int = 0
    file_count: int = 0

    def files(self) -> Iterator[tuple[str, Item]]:
        """(path relative to the root, item) of everything that is sent, folder by folder."""
        waiting = [("", self.tree)]
        while waiting:
            prefix, folder = waiting.pop()
            for item in folder.items:
                yield prefix + os.fsdecode(item.name), item
            waiting += [(f"{prefix}{os.fsdecode(one.name)}/", one) for one in reversed(folder.folders)]

    def not_sent_line(self) -> str:
        """``not sent: data/ 4.2 GB (.gitignore), .env (secret-like)``; empty when nothing stays."""
        return _line("not sent", [one for one in self.not_sent if not one.linked])

    def linked_line(self) -> str:
        """``linked to the originals, so what a job writes there lands there: data/ 4.2 GB (.gitignore)``;
        empty when nothing is linked."""
        label = "linked to the originals, so what a job writes there lands there"
        return _line(label, [one for one in self.not_sent if one.linked])


_MOST_IN_A_LINE = 6


def _line(label: str, left: Sequence[NotSent]) -> str:
    """The largest first, each reason said once, after the last of its own."""
    if not left:
        return ""
    by_why: dict[str, list[NotSent]] = {}
    for one in sorted(left, key=lambda one: -(one.size_bytes or 0))[:_MOST_IN_A_LINE]:
        by_why.setdefault(one.why, []).append(one)
    parts = [f"{', '.join(map(str, some))} ({why})" for why, some in by_why.items()]
    more = len(left) - _MOST_IN_A_LINE
    return f"{label}: {', '.join(parts)}" + (f" and {more} more" if more > 0 else "")
