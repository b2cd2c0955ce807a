"""What is asked of git itself: where a repository is, its excludes, what it tracks although ignored.

A project without git, or a machine without it, simply has none of that. Nothing here runs a program that
a repository names.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..model.patterns import Rules, lines_of

if TYPE_CHECKING:
    import subprocess

__all__ = ["Repository", "read_lines", "repository_top", "superproject"]

_GIT_TIMEOUT_S = 20.0
_FILE_LIMIT_BYTES = 4 << 20
_HARMLESS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-pager")
_FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX", "GIT_NAMESPACE")


def repository_top(folder: Path) -> Path | None:
    """The work tree that a folder is in."""
    for candidate in (folder, *folder.parents):
        if _git_dir(candidate) is not None:
            return candidate
    return None


def superproject(top: Path) -> Path | None:
    """The work tree whose submodule the repository at ``top`` is; None for one of its own."""
    if (top / ".git").is_dir():
        return None
    git_dir = _git_dir(top)
    if git_dir is None or "modules" not in git_dir.parts:
        return None
    for above in top.parents:
        outer = _git_dir(above)
        if outer is not None and git_dir.is_relative_to(outer / "modules"):
            return superproject(above) or above
    return None


def read_lines(path: Path) -> list[bytes]:
    """The lines of an ignore file; none when it is not there, is a link, or cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(fd, "rb") as file:
            return lines_of(file.read(_FILE_LIMIT_BYTES))
    except OSError:
        return []


class Repository:
    """One repository, as far as it reaches into a project.

    ``folder`` is the part of the work tree that belongs to the project, ``prefix`` that folder as seen
    from the project (empty, or ending in a slash).
    """

    def __init__(self, top: Path, folder: Path, prefix: bytes = b"") -> None:
        self.top = top
        self._prefix = prefix
        argv = ("ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
        self._listing = _start(folder, *argv)
        self._setting = _start(top, "config", "--null", "--type=path", "--get", "core.excludesFile")

    @cached_property
    def excludes(self) -> tuple[Rules, ...]:
        """``core.excludesFile``, then ``info/exclude`` (stronger), relative to ``top``."""
        found, output = _finish(self._setting)
        named = output.rstrip(b"\0") if found else b""
        config = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
        everywhere = Path(os.fsdecode(named)) if named else Path(config, "git", "ignore")
        rules = [Rules(read_lines(self.top / everywhere))]
        git_dir = _git_dir(self.top)
        if git_dir is not None:
            rules.append(Rules(read_lines(_common_dir(git_dir) / "info" / "exclude")))
        return tuple(rule for rule in rules if rule)

    @cached_property
    def tracked(self) -> frozenset[bytes]:
        """Paths in the project that match an ignore line but are in the index all the same."""
        found, output = _finish(self._listing)
        if not found:
            return frozenset()
        return frozenset(self._prefix + name for name in output.split(b"\0") if name)

    @cached_property
    def tracked_folders(self) -> frozenset[bytes]:
        """All folders above those."""
        folders: set[bytes] = set()
        for path in self.tracked:
            folder = path.rpartition(b"/")[0]
            while folder and folder not in folders:
                folders.add(folder)
                folder = folder.rpartition(b"/")[0]
        return frozenset(folders)

    def close(self) -> None:
        """End what was started and never asked for."""
        for process in (self._listing, self._setting):
            if process is not None and process.returncode is None:
                process.kill()
                process.communicate()


def _git_dir(folder: Path) -> Path | None:
    """The git directory of a work tree. Source: gitrepository-layout(5)."""
    entry = folder / ".git"
    try:
        if entry.is_dir():
            return entry.resolve() if (entry / "HEAD").exists() else None
        text = entry.read_bytes()[:4096]
    except OSError:
        return None
    if not text.startswith(b"gitdir:"):
        return None
    git_dir = folder / os.fsdecode(text.removeprefix(b"gitdir:").strip())
    return git_dir.resolve() if (git_dir / "HEAD").exists() else None


def _common_dir(git_dir: Path) -> Path:
    try:
        text = (git_dir / "commondir").read_bytes()
    except OSError:
        return git_dir
    return git_dir / os.fsdecode(text.strip())


def _start(folder: Path, *argv: str) -> subprocess.Popen[bytes] | None:
    import subprocess

    env = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    quiet = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            ("git", *_HARMLESS, *argv),
            cwd=folder,
            env=env,
            stdin=quiet,
            stdout=subprocess.PIPE,
            stderr=quiet,
        )
    except OSError:
        return None


def _finish(process: subprocess.Popen[bytes] | None) -> tuple[bool, bytes]:
    """(whether it said something, what)."""
    if process is None:
        return False, b""
    from subprocess import TimeoutExpired

    try:
        output, _ = process.communicate(timeout=_GIT_TIMEOUT_S)
    except TimeoutExpired:
        process.kill()
        process.communicate()
        return False, b""
    return process.returncode == 0, output
