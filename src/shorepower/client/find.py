"""Which folder is the project, and where a job starts in it."""

from __future__ import annotations

import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from msgspec import Struct

from ..model.errors import Fault, InvalidRequest
from .gitrepo import superproject
from .names import shown

__all__ = ["FoundProject", "find_project"]

_MARKERS = ("shore.toml", "renv.lock", "pyproject.toml", ".git")
"""Besides these: ``*.Rproj``."""


class FoundProject(Struct, frozen=True, kw_only=True):
    """Which folder is the project, and where the job starts in it."""

    root: Path
    cwd: Path
    """Where the user stands."""
    workdir: str = ""
    """Relative to the root, ``/`` between parts; empty is the root itself."""
    script: str = ""
    """The script as the job names it: relative to where it starts, or absolute when it lies outside
    the project (then it can only run where the cluster sees it). Empty for a command."""
    why: str
    """In words, for the line on stderr: ``pyproject.toml``, ``--project``, ``the script's folder``."""
    only: tuple[str, ...] | None = None
    """Not None: only these files of the root travel (a home folder is never a project)."""
    git_only: bool = False
    """``.git`` was the only marker: an empty ``.here`` is staged."""
    notes: tuple[str, ...] = ()
    """Sentences to show."""


def find_project(
    cwd: Path,
    *,
    script: Path | None = None,
    named: Path | None = None,
    workdir: str | None = None,
    home: Path | None = None,
) -> FoundProject:
    """The project for a command given in ``cwd``.

    ``script`` is None for ``-- COMMAND``; ``named`` is ``--project``, ``workdir`` is ``--workdir``;
    ``home`` is looked up when it is not given. Raises InvalidRequest when what is named is no folder, or
    the working directory is not inside.
    """
    cwd = cwd.resolve()
    file = _place_of(cwd / script) if script is not None else None
    root, why, only, notes = _choose(cwd, file, named, (home or _home()).resolve())
    start = _start(root, cwd, workdir)
    return FoundProject(
        root=root,
        cwd=cwd,
        workdir=start,
        script=_as_named(root, start, file),
        why=why,
        only=only,
        git_only=only is None and _markers(root) == [".git"] and not (root / ".here").exists(),
        notes=notes,
    )


def _choose(
    cwd: Path, file: Path | None, named: Path | None, home: Path
) -> tuple[Path, str, tuple[str, ...] | None, tuple[str, ...]]:
    """(root, why, only, notes)."""
    if named is not None:
        root = (cwd / named).resolve()
        if not root.is_dir():
            message = f"--project {shown(str(named))}: there is no such folder"
            raise InvalidRequest([Fault("--project", message)])
        return root, "--project", None, ()
    for folder in (cwd, *cwd.parents):
        marks = _markers(folder)
        if marks and not home.is_relative_to(folder):
            root = _widest(folder, marks, home)
            return root, marks[0] if root == folder else _why_wider(root), None, ()
    folder = file.parent if file is not None else cwd
    never = _never_a_project(folder, home)
    if not never:
        return folder, "the script's folder" if file is not None else "the current folder", None, ()
    if file is not None:
        told = f"{shown(str(folder))} is {never}, never a project: only {shown(file.name)} is sent"
        return folder, never, (file.name,), (f"{told} (--project {shown(str(folder))} sends it all)",)
    told = f"{shown(str(folder))} is {never}, never a project: the command starts in an empty folder"
    return folder, never, (), (f"{told} (--project {shown(str(folder))} sends it all)",)


def _markers(folder: Path) -> list[str]:
    found = [mark for mark in _MARKERS if (folder / mark).exists()]
    try:
        with os.scandir(folder) as entries:
            found += [entry.name for entry in entries if entry.name.endswith(".Rproj") and entry.is_file()]
    except OSError:
        pass  # a folder that may be crossed but not listed has no other markers for us
    return sorted(found, key=lambda mark: mark == ".git")


def _widest(folder: Path, marks: list[str], home: Path) -> Path:
    """The superproject of a submodule, the root of a uv workspace, else the folder itself."""
    if ".git" in marks and (outer := superproject(folder)) is not None and outer != home:
        return outer
    if "pyproject.toml" in marks:
        for above in folder.parents:
            if above != home and _is_workspace_of(above, folder):
                return above
    return folder


def _why_wider(root: Path) -> str:
    return "the uv workspace" if (root / "pyproject.toml").exists() else "the superproject"


def _is_workspace_of(root: Path, member: Path) -> bool:
    """Source: docs.astral.sh/uv/concepts/projects/workspaces: members and exclude are globs."""
    import tomllib

    try:
        table = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]
        parts = member.relative_to(root).parts
        included, excluded = table.get("members", []), table.get("exclude", [])
        return _fits(parts, included) and not _fits(parts, excluded)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _fits(parts: tuple[str, ...], globs: list[str]) -> bool:
    split = (PurePosixPath(glob).parts for glob in globs)
    return any(len(glob) == len(parts) and all(map(fnmatchcase, parts, glob)) for glob in split)


def _never_a_project(folder: Path, home: Path) -> str:
    """What a folder is that nobody means as a whole; empty when it may be a project."""
    if folder == folder.parent:
        return "the root of the file system"
    if folder == home:
        return "your home folder"
    if home.is_relative_to(folder):
        return "above your home folder"
    try:
        if stat.S_IMODE(folder.stat().st_mode) & 0o1002 == 0o1002:
            return "a folder that everybody writes to"
    except OSError:
        return ""
    return "a mount point" if os.path.ismount(folder) else ""


def _start(root: Path, cwd: Path, workdir: str | None) -> str:
    if workdir is None:
        return _inside(root, cwd) if cwd.is_relative_to(root) else ""
    place = (root / workdir).resolve()
    if not place.is_relative_to(root):
        message = f"--workdir {shown(workdir)}: not inside the project {shown(str(root))}"
        raise InvalidRequest([Fault("--workdir", message)])
    if not place.is_dir():
        wrong = "that is no folder" if place.exists() else f"there is no such folder in {shown(str(root))}"
        raise InvalidRequest([Fault("--workdir", f"--workdir {shown(workdir)}: {wrong}")])
    return _inside(root, place)


def _inside(root: Path, place: Path) -> str:
    return "" if place == root else place.relative_to(root).as_posix()


def _as_named(root: Path, start: str, file: Path | None) -> str:
    if file is None:
        return ""
    if not file.is_relative_to(root):
        return str(file)
    name = Path(os.path.relpath(file, root / start)).as_posix()
    return f"./{name}" if name.startswith("-") else name  # no interpreter takes it for an option


def _place_of(file: Path) -> Path:
    """Absolute, its folder without links; the last part may be a link of the project's own."""
    return file.parent.resolve() / file.name


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME and no entry for the user
        return Path("/")
