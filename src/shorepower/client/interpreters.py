"""Looks on this machine for the program that runs a script, by the rules of `model.runtime`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from ..model.errors import Fault, InvalidRequest
from ..model.names import quoted
from ..model.runtime import Script, Session, Way, suffix_of, uv_places, ways

__all__ = [
    "Chosen",
    "Declaring",
    "choose",
    "choose_elsewhere",
    "environment_of",
    "find_program",
    "find_uv",
    "python_version",
    "read_script",
    "version_of",
]

VERSION_TIMEOUT_S = 3.0
_HEAD_BYTES = 1 << 16
_SCRIPT_BYTES = 4 << 20
_DECLARING = ("pyproject.toml", "uv.lock", "environment.yml", "environment.yaml")


class Declaring(Struct, frozen=True, kw_only=True):
    """Who may declare what a script needs."""

    file: Path
    """The script itself."""
    root: Path | None
    """The project, whose ``pyproject.toml``, ``uv.lock`` and ``environment.yml`` count; None for none."""
    environ: Mapping[str, str]
    """The caller's own environment: where uv and conda are."""


class Chosen(Struct, frozen=True, kw_only=True):
    """The way that is taken, with the program as it was found."""

    way: Way
    program: str
    version: str = ""
    notes: tuple[str, ...] = ()
    """Sentences to show before the start."""

    @property
    def label(self) -> str:
        """``Python 3.11 (the project's .venv)``."""
        return f"{self.way.runtime} {self.version}".rstrip() + f" ({self.way.why})"


def read_script(file: Path, path: str) -> tuple[Script, list[str]]:
    """What a script says of itself, and the lines of its head. Raises InvalidRequest in words."""
    try:
        with file.open("rb") as content:
            head = content.read(_HEAD_BYTES)
        run_bit = os.access(file, os.X_OK)
    except OSError as error:
        told = f"{quoted(path)} cannot be read: {error.strerror}"
        raise InvalidRequest([Fault("SCRIPT", told)]) from None
    lines = head.decode(errors="replace").splitlines()
    first = lines[0] if lines else ""
    return Script(path=path, first_line=first, run_bit=run_bit), lines


def choose(
    script: Script,
    session: Session,
    cache_dir: Path | None = None,
    declaring: Declaring | None = None,
    folder: Path | None = None,
) -> Chosen:
    """The first way whose program is here, and that has what ``declaring`` asks for; it is to start in
    ``folder``. Raises InvalidRequest naming all that were looked for, or what is missing."""
    notes: tuple[str, ...] = ()
    if declaring is not None and _says_something(script, session, declaring):
        from .fitting import fitting_python

        fitting = fitting_python(script, session, declaring, cache_dir)
        session, notes = msgspec.structs.replace(session, named=fitting.found), fitting.notes
    if suffix_of(script.path) == ".ipynb":
        session = msgspec.structs.replace(session, papermill=_has_papermill(session))
    known = ways(script, session)
    for way in known:
        if found := find_program(way.program, session.env):
            if way.runtime == "R Markdown":
                _need_rmarkdown(script, way, found, session, folder)
            return Chosen(way=way, program=found, version=version_of(way, found, cache_dir), notes=notes)
    looked = ", ".join(f"{way.program} ({way.why})" for way in known)
    raise InvalidRequest(
        [
            Fault(
                "SCRIPT", f"{script.path} needs {known[-1].runtime}, which is not here; looked for {looked}"
            )
        ]
    )


def _need_rmarkdown(script: Script, way: Way, program: str, session: Session, folder: Path | None) -> None:
    from .rmarkdown import lacks_rmarkdown

    if lacks_rmarkdown(program, session.env, folder or Path.cwd()):
        told = f"{script.path} needs the R package rmarkdown, which {program} ({way.why}) does not have"
        raise InvalidRequest([Fault("SCRIPT", told)])


def choose_elsewhere(script: Script, session: Session) -> Chosen:
    """The way by name alone, for a machine that does not have this one's programs."""
    away = Session(julia_project=session.julia_project, scripts=session.scripts)
    way = ways(script, away)[-1 if suffix_of(script.path) != ".sh" else 0]
    return Chosen(way=msgspec.structs.replace(way, why="over there"), program=way.program)


def environment_of(chosen: Chosen | None) -> Path | None:
    """The Python environment whose editable installs matter."""
    if chosen is None or chosen.way.runtime not in ("Python", "papermill") or "/" not in chosen.program:
        return None
    folder = Path(chosen.program).parent.parent
    marks = ("pyvenv.cfg", "conda-meta")
    return folder if any((folder / mark).exists() for mark in marks) else None


def find_program(program: str, env: Mapping[str, str], *, any_environment: bool = False) -> str | None:
    """Where a program is: a path that is there, or the first in PATH that is not our own environment's
    (unless ``any_environment``)."""
    if program.startswith(("./", "../")):
        return program
    if "/" in program:
        return program if os.access(program, os.X_OK) and not Path(program).is_dir() else None
    folders = [folder for folder in env.get("PATH", os.defpath).split(os.pathsep) if folder]
    if not any_environment:
        folders = _without_our_own(folders, env)
    places = (os.path.join(folder, program) for folder in folders)  # noqa: PTH118
    return next((place for place in places if os.path.isfile(place) and os.access(place, os.X_OK)), None)  # noqa: PTH113


def find_uv(env: Mapping[str, str]) -> str | None:
    """Where uv is, if it is here."""
    return next((found for place in uv_places(env) if (found := find_program(place, env))), None)


def version_of(way: Way, program: str, cache_dir: Path | None) -> str:
    """``3.11``, ``4.2.2``; empty when that would take long to find out."""
    if way.runtime in ("Python", "papermill"):
        return python_version(program)
    if way.runtime in ("Rscript", "Julia", "Quarto"):
        return _asked_version(program, cache_dir)
    return ""


def _without_our_own(folders: Iterable[str], env: Mapping[str, str]) -> list[str]:
    """PATH without the environment that shorepower itself is installed in, unless it was activated."""
    own = sys.prefix
    if own == sys.base_prefix or env.get("VIRTUAL_ENV") == own or env.get("CONDA_PREFIX") == own:
        return list(folders)
    ours = str(Path(own, "bin"))
    return [folder for folder in folders if folder.rstrip("/") != ours]


def _says_something(script: Script, session: Session, declaring: Declaring) -> bool:
    """Whether it is worth reading what script and project declare: most say nothing."""
    suffix = suffix_of(script.path)
    if suffix not in (".py", ".ipynb") or suffix in session.scripts:
        return False
    root = declaring.root
    if root is not None and any((root / name).exists() for name in _DECLARING):
        return True
    try:
        with declaring.file.open("rb") as content:
            return suffix == ".py" and b"\n# /// script" in b"\n" + content.read(_SCRIPT_BYTES)
    except OSError:
        return False


def _has_papermill(session: Session) -> bool:
    """Whether the Python that would be taken has papermill, by looking, not by running it."""
    pythons = ways(Script(path="x.py"), session)
    found = next((place for way in pythons if (place := find_program(way.program, session.env))), None)
    if found is None:
        return False
    prefixes = {Path(found).parent.parent, Path(os.path.realpath(found)).parent.parent}
    return any(
        next(prefix.glob(pattern), None)
        for prefix in prefixes
        for pattern in ("lib/python3*/site-packages/papermill", "lib/python3*/dist-packages/papermill")
    )


def python_version(program: str) -> str:
    """``3.11.2`` of a virtual environment, ``3.11`` by its real name; empty when it has to be asked."""
    config = Path(program).parent.parent / "pyvenv.cfg"
    try:
        if found := re.search(
            r"^version(?:_info)?\s*=\s*(\d+\.\d+(?:\.\d+)?)", config.read_text(), re.MULTILINE
        ):
            return found[1]
    except (OSError, UnicodeDecodeError):
        pass  # no virtual environment: the name of the real program tells
    found = re.fullmatch(r"python(\d+\.\d+)", Path(os.path.realpath(program)).name)
    return found[1] if found else ""


def _asked_version(program: str, cache_dir: Path | None) -> str:
    """What ``--version`` says, remembered for as long as the program is the same file."""
    try:
        there = Path(program).stat()
    except OSError:
        return ""
    from .remembered import recall, remember

    mark = f"{os.path.realpath(program)}|{there.st_mtime_ns}|{there.st_size}"
    file = cache_dir / "versions.json" if cache_dir else None
    known = recall(file, str)
    if mark not in known:
        known[mark] = _say_version([program, "--version"])
        remember(file, known)
    return known[mark]


def _say_version(command: Sequence[str]) -> str:
    import subprocess

    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(rb"\d+\.\d+(?:\.\d+)?", done.stdout)
    return found[0].decode() if found else ""
