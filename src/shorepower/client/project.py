"""What a project is and what of it is sent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ..model.errors import TooLarge
from ..model.job import Link

__all__ = [
    "Data",
    "Folder",
    "FoundProject",
    "Item",
    "Limits",
    "NotSent",
    "ProjectTooLarge",
    "ProjectView",
    "find_project",
    "look_over",
]


class FoundProject(Struct, frozen=True, kw_only=True):
    """Which folder is the project, and where the job starts in it."""

    root: Path
    workdir: str = ""
    """Relative to the root, ``/`` between parts; empty is the root itself."""
    why: str
    """In words, for the line on stderr: ``pyproject.toml``, ``named``, ``the script's folder``."""
    only: tuple[str, ...] | None = None
    """Not None: only these files of the root travel (a home folder is never a project)."""
    git_only: bool = False
    """``.git`` was the only marker: an empty ``.here`` is staged."""
    notes: tuple[str, ...] = ()
    """Sentences to show."""


class Data(Struct, frozen=True, kw_only=True):
    """One ``--data PATH[=TARGET]``: never sent, but linked."""

    path: str
    """As typed, relative to the current directory."""
    target: str | None = None
    """Where it lies on the cluster; None: it is the original, on a shared file system."""


class Limits(Struct, frozen=True, kw_only=True):
    """When a scan stops."""

    max_bytes: int = 2 << 30
    max_files: int = 200_000
    copy_ignored_bytes: int = 256 << 20
    """Ignored files that are copied on this machine, together; larger folders become links."""
    copy_ignored_files: int = 20_000


class ProjectTooLarge(TooLarge):
    """The scan met more than the limits allow and stopped; nothing was sent."""

    def __init__(
        self, message: str, size_bytes: int, file_count: int, largest: Sequence[tuple[str, int, int]]
    ) -> None:
        super().__init__(message)
        self.size_bytes, self.file_count = size_bytes, file_count
        self.largest = tuple(largest)
        """(folder, bytes, files) met so far, the largest first."""


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
    """On this machine: the staged copy holds a link to the original."""


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
        """(path relative to the root, item) of everything that is sent, in order of path."""
        raise NotImplementedError

    def not_sent_line(self) -> str:
        """``not sent: data/ 4.2 GB (.gitignore), .env``; empty when everything is sent."""
        raise NotImplementedError


def find_project(
    cwd: Path,
    *,
    script: Path | None = None,
    named: Path | None = None,
    workdir: str | None = None,
    home: Path | None = None,
) -> FoundProject:
    """The project for a command given in ``cwd``.

    ``script`` is None for ``-- COMMAND``; ``named`` is ``--project``, ``workdir`` is ``--workdir``.
    Raises InvalidRequest when what is named is no folder, or the working directory is not inside.
    """
    raise NotImplementedError


def look_over(
    found: FoundProject,
    *,
    here: bool,
    includes: Sequence[str] = (),
    data: Sequence[Data] = (),
    send_ignored: bool = False,
    beside: frozenset[str] = frozenset(),
    environment: Path | None = None,
    limits: Limits = Limits(),
) -> ProjectView:
    """Walk the project and say what is sent, linked and left.

    ``here``: the cluster sees this file system, so ignored files are copied while small, large ignored
    folders, environments and secret-like files are linked. ``send_ignored``: elsewhere, ignored files
    go along. ``beside``: paths that pulls of ours put beside a user's file (`Ledger.beside`).
    ``environment``: the Python environment whose editable installs matter (default: the project's
    ``.venv``). Raises ProjectTooLarge at a limit, InvalidRequest for ``data`` that cannot be linked.
    """
    raise NotImplementedError
