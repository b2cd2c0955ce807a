"""Which Python has what a script or a project declares. Nothing is built, nothing goes over the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ..model.errors import Fault, InvalidRequest
from ..model.names import quoted, shown
from ..model.runtime import Script, Session, suffix_of, ways
from .conda import find_prefix
from .declared import Needs, conda_file, conda_names, pinned_python, project_needs, script_needs
from .installed import Fit, fit_of
from .interpreters import Declaring, find_program, find_uv
from .uv import script_python

__all__ = ["Fitting", "fitting_python"]


class Fitting(Struct, frozen=True, kw_only=True):
    """What was declared leads to this."""

    found: tuple[str, str] | None = None
    """(program, why) of the Python to take; None leaves it to the usual order."""
    notes: tuple[str, ...] = ()


def fitting_python(script: Script, session: Session, place: Declaring, cache_dir: Path | None) -> Fitting:
    """The Python that the script's ``# /// script`` block, or else the project, asks for.

    Raises InvalidRequest naming what is missing and how to get it.
    """
    search = _Search(script, session, place, cache_dir)
    if suffix_of(script.path) == ".py" and (needs := script_needs(place.file, script.path)):
        return search.for_script(needs) if needs.anything else Fitting()
    return search.for_project(place.root) if place.root else Fitting()


class _Search:
    """The Pythons that are here, tried against what is declared."""

    def __init__(self, script: Script, session: Session, place: Declaring, cache_dir: Path | None) -> None:
        self.script, self.session, self.place, self.cache_dir = script, session, place, cache_dir

    def for_script(self, needs: Needs) -> Fitting:
        uv, file = find_uv(self.place.environ), self.place.file
        tried = _Tried()
        if uv is None:
            tried.say("uv is not here")
        elif built := script_python(uv, file, self.place.environ):
            if (fit := self._fit(built, needs)).is_right:
                return Fitting(found=(built, f"uv's environment for {needs.by}"))
            tried.add(built, "uv's environment for it", fit)
        else:
            tried.say("uv has built no environment for it")
        for program, why in self._here():
            if (fit := self._fit(program, needs)).is_right:
                return Fitting(found=(program, f"{why}; it has what {needs.by} declares"))
            tried.add(program, why, fit)
        get = f"uv sync --script {_typed(self.script.path)}"
        told = f"`{get}` builds an environment for it" if uv else tried.install(get)
        raise self._refused(f"{needs.by} declares {needs.words}, which no Python here has", tried, told)

    def for_project(self, root: Path) -> Fitting:
        needs = project_needs(root)
        locked = (root / "uv.lock").is_file()
        for program, why in self._own(root, locked):
            if needs and needs.python:
                self._check_version(program, why, replace(needs, packages=()), "uv sync" if locked else "")
            return Fitting(found=(program, why))
        if locked:
            return self._locked(root, needs) if needs and needs.anything else Fitting()
        if file := conda_file(root):
            return self._conda(file, needs)
        return self._loose(needs)

    def _own(self, root: Path, locked: bool) -> Iterator[tuple[str, str]]:
        """The Python of the project's own environment, if it has one that is whole."""
        named = self.place.environ.get("UV_PROJECT_ENVIRONMENT") if locked else ""
        if named and (program := find_program(f"{root / named}/bin/python", {})):
            yield program, "UV_PROJECT_ENVIRONMENT"
        venv = self.session.project_venv
        if venv and (program := find_program(f"{venv}/bin/python", {})):
            yield program, "the project's .venv"

    def _locked(self, root: Path, needs: Needs) -> Fitting:
        """uv.lock, and no environment: one that was activated or is the system's will do if it fits."""
        tried = _Tried()
        has_venv = bool(self.session.project_venv)
        tried.say("the project's .venv has no Python" if has_venv else "the project has no .venv")
        for program, why in self._here():
            fit = self._fit(program, needs)
            known = needs.complete or why != "PATH"  # that it was activated says that it is meant
            if fit.is_right and known:
                return Fitting(found=(program, f"{why}; it has what {needs.by} declares"))
            tried.add(program, why, fit)
        pinned = pinned_python(root)
        with_python = f" with Python {pinned} (.python-version)" if pinned else ""
        what = "the project has a uv.lock, and no Python here is known to have what it lists"
        if needs.words:
            what = f"{needs.by} declares {needs.words}, which no Python here has"
        raise self._refused(what, tried, f"`uv sync` builds its environment{with_python}")

    def _conda(self, file: Path, needs: Needs | None) -> Fitting:
        try:
            name, prefix = conda_names(file)
        except ValueError as wrong:
            return self._loose(needs, f"{wrong}, so the environment that it names is not used")
        if not name and not prefix:
            return self._loose(needs)
        called = shown(name or prefix)
        if built := find_prefix(name, prefix, self.place.environ):
            program = find_program(f"{built}/bin/python", {})
            if program is None:  # an environment of R, say
                return self._loose(needs, f"the conda environment {called} ({file.name}) has no Python")
            why = f"{file.name}, conda environment {called}"
            if needs and needs.python:
                self._check_version(program, why, replace(needs, packages=()), "")
            return Fitting(found=(program, why))
        missing = f"{file.name} names the conda environment {quoted(called)}, which is not built here"
        if active := next((why for _, why in self._here() if self._is_meant(why)), ""):
            return self._loose(needs, f"{missing}; {active} is used")
        raise self._refused(
            missing, _Tried(), f"`{self._conda_program()} env create -f {file.name}` builds it"
        )

    def _loose(self, needs: Needs | None, *notes: str) -> Fitting:
        """The usual order; only a Python of the wrong version is refused."""
        first = next(self._here(), None)
        if first is None or needs is None or not needs.anything:
            return Fitting(notes=notes)
        program, why = first
        fit = self._check_version(program, why, needs, "")
        if fit.wrong:
            lacks = "; ".join(fit.wrong)
            told = f"{needs.by} declares what {_named(program, why, fit)} does not have: {lacks}"
            return Fitting(found=first, notes=(*notes, told))
        return Fitting(found=first, notes=notes)

    def _here(self) -> Iterator[tuple[str, str]]:
        """(program, why) of every Python in the usual order."""
        for way in ways(Script(path="x.py"), self.session):
            if program := find_program(way.program, self.session.env):
                yield program, way.why

    def _is_meant(self, why: str) -> bool:
        """It was activated by a person; conda's base is often active unasked."""
        env = self.session.env
        base = (
            env.get("CONDA_DEFAULT_ENV") == "base" or Path(env.get("CONDA_PREFIX", ""), "condabin").is_dir()
        )
        return why == "VIRTUAL_ENV" or (why == "CONDA_PREFIX" and not base)

    def _check_version(self, program: str, why: str, needs: Needs, anew: str) -> Fit:
        """Raises InvalidRequest naming both versions; ``anew`` is what would build a right one."""
        fit = self._fit(program, needs)
        if fit.version and fit.python_fits:
            return fit
        wanted = f"{needs.by} requires Python {shown(needs.python)}"
        if pinned := pinned_python(self.place.root) if self.place.root else "":
            wanted += f" (.python-version: {pinned})"
        is_what = (
            f"but {_named(program, why, fit)} {'is what would run it' if fit.version else 'does not start'}"
        )
        told = f"`{anew}` makes it anew" if anew else "make or activate an environment with such a Python"
        raise self._refused(f"{wanted}, {is_what}", _Tried(), told)

    def _fit(self, program: str, needs: Needs) -> Fit:
        cwd = self.place.root or self.place.file.parent
        return fit_of(program, needs, env=self.session.env, cwd=cwd, cache_dir=self.cache_dir)

    def _conda_program(self) -> str:
        known = ("conda", "mamba", "micromamba")
        return next((name for name in known if find_program(name, self.place.environ)), "conda")

    def _refused(self, what: str, tried: _Tried, told: str) -> InvalidRequest:
        path = self.script.path
        as_it_is = ""
        if suffix_of(path) == ".py":
            as_it_is = f"; `shore run -- python3 {_typed(path)}` runs it as it is"
        where = f": {'; '.join(tried.words)}" if tried.words else ""
        return InvalidRequest([Fault("SCRIPT", f"{what}{where}. {told}{as_it_is}")])


class _Tried:
    """What was looked at, in words."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._first: tuple[str, Fit] | None = None

    def say(self, words: str) -> None:
        self.words.append(words)

    def add(self, program: str, why: str, fit: Fit) -> None:
        if not fit.version:
            self.words.append(f"{_named(program, why, fit)} does not start")
            return
        lacks = [] if fit.python_fits else [f"is Python {fit.version}"]
        lacks += [f"has {words}" if words.startswith("no ") else f"its {words}" for words in fit.wrong]
        if fit.python_fits and self._first is None:
            self._first = program, fit
        if lacks:
            self.words.append(f"{_named(program, why, fit)} {', '.join(lacks)}")

    def install(self, sync: str) -> str:
        """How to get there without uv: into an environment of one's own, never the system's."""
        with_uv = f"with uv (https://docs.astral.sh/uv) `{sync}` builds an environment for it"
        if self._first is None:
            return with_uv
        program, fit = self._first
        if not (Path(program).parent.parent / "pyvenv.cfg").is_file():
            return with_uv
        missing = " ".join(_typed(one) for one in fit.missing)
        return f"`{_typed(program)} -m pip install {missing}` adds what is missing, or {with_uv}"


def _named(program: str, why: str, fit: Fit) -> str:
    version = f"Python {fit.version}, " if fit.version else ""
    return f"{shown(why)} ({version}{shown(program)})"


def _typed(word: str) -> str:
    """As it is typed at a shell."""
    import shlex

    return shown(shlex.quote(word))
