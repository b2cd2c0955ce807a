"""Which program runs a script: by suffix, by ``#!``, by what the user's session uses. Pure.

`ways` lists every way in the order of preference; whoever can look at files takes the first whose
program is there. So the rules can be read, and tested, without a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from .errors import Fault, InvalidRequest

__all__ = ["SUFFIXES", "Script", "Session", "Way", "suffix_table", "uv_places", "ways"]

SUFFIXES = {
    ".py": "Python",
    ".R": "Rscript",
    ".r": "Rscript",
    ".sh": "sh",
    ".jl": "Julia",
    ".ipynb": "Jupyter",
    ".qmd": "Quarto",
    ".Rmd": "R Markdown",
}
"""What each suffix means. Source: the contract, §4, Scripts by suffix."""


class Script(Struct, frozen=True, kw_only=True):
    """What is known of a script without running it."""

    path: str
    """As the job will name it, relative to where it starts (``train.R``, ``../src/fit.py``)."""
    first_line: str = ""
    """Of its content, without the line end."""
    run_bit: bool = False


class Session(Struct, frozen=True, kw_only=True):
    """What of the user's own session decides."""

    env: Mapping[str, str] = {}
    """The environment that the job will have."""
    project_venv: str | None = None
    """Absolute path of the project's ``.venv``, if it has one."""
    named: tuple[str, str] | None = None
    """(program, why) of the Python that script or project name by what they declare."""
    julia_project: bool = False
    """The project has a ``Project.toml``."""
    papermill: bool = False
    """The chosen Python can import papermill."""
    scripts: Mapping[str, Sequence[str]] = {}
    """``[scripts]`` of the configuration: suffix → command, in which ``{script}`` stands for the file."""


class Way(Struct, frozen=True, kw_only=True):
    """One program that could run the script."""

    runtime: str
    """``Python``, ``Rscript`` … for people."""
    program: str
    """Absolute, or a bare name to be looked for in the job's PATH, or ``./x`` in its folder."""
    wrap: tuple[str, ...] = ()
    """What stands before the program, where a shell has to put the command together."""
    before: tuple[str, ...] = ()
    """Between the program and the script's own arguments."""
    why: str
    """Where this choice comes from: ``the project's .venv``."""

    def argv(self, found: str, arguments: Sequence[str]) -> tuple[str, ...]:
        """The whole command, with the program as it was found."""
        return (*self.wrap, found, *self.before, *arguments)


def suffix_table() -> str:
    """The known suffixes in one line, for an error."""
    return ", ".join(f"{suffix} ({runtime})" for suffix, runtime in SUFFIXES.items() if suffix != ".r")


def suffix_of(path: str) -> str:
    """``.R`` of ``a/b.R``; empty when there is none (``.bashrc`` has none)."""
    name = path.rpartition("/")[2]
    stem, dot, tail = name.rpartition(".")
    return dot + tail if stem else ""


def ways(script: Script, session: Session) -> tuple[Way, ...]:
    """Every way to run a script, best first. Raises InvalidRequest when none is known."""
    suffix = suffix_of(script.path)
    if suffix in session.scripts:
        return (_configured(suffix, session.scripts[suffix], script),)
    if rule := _RULES.get(suffix):
        return rule(script, session)
    if script.run_bit and _shebang(script.first_line):
        line = script.first_line.strip()
        path = (
            script.path if script.path.startswith(("/", "../")) else f"./{script.path.removeprefix('./')}"
        )
        return (Way(runtime="program", program=path, why=f"its first line, {line}"),)
    hint = ""
    if _shebang(script.first_line):
        hint = f"; it begins with #!, so `chmod +x {script.path}` would make it runnable"
    raise InvalidRequest(
        [
            Fault(
                "SCRIPT",
                f"do not know how to run {script.path!r}: known are {suffix_table()}, files with a #! line "
                f"and the run bit, and any command after --{hint}",
            )
        ]
    )


def uv_places(env: Mapping[str, str]) -> tuple[str, ...]:
    """Where uv may be, best first; the bare name is looked for in PATH."""
    home = env.get("HOME", "")
    named = (env["UV"],) if env.get("UV") else ()
    return (*named, "uv", f"{home}/.local/bin/uv", f"{home}/.cargo/bin/uv")


def _configured(suffix: str, command: Sequence[str], script: Script) -> Way:
    words = [word.replace("{script}", script.path) for word in command]
    if not any("{script}" in word for word in command):
        words.append(script.path)
    return Way(
        runtime=words[0].rpartition("/")[2],
        program=words[0],
        before=tuple(words[1:]),
        why=f"[scripts] {suffix} in the configuration",
    )


def _pythons(session: Session) -> list[tuple[str, str]]:
    """(program, why) of every Python in question, best first."""
    places = [session.named] if session.named else []
    if session.project_venv:
        places.append((f"{session.project_venv}/bin/python", "the project's .venv"))
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if folder := session.env.get(variable):
            places.append((f"{folder.rstrip('/')}/bin/python", variable))
    return [*places, ("python3", "PATH")]


def _python(script: Script, session: Session) -> tuple[Way, ...]:
    return tuple(
        Way(runtime="Python", program=program, before=(script.path,), why=why)
        for program, why in _pythons(session)
    )


def _rscript(script: Script, session: Session) -> tuple[Way, ...]:
    return (Way(runtime="Rscript", program="Rscript", before=(script.path,), why="PATH"),)


def _sh(script: Script, session: Session) -> tuple[Way, ...]:
    if named := _shebang(script.first_line):
        program, *argument = named
        line = script.first_line.strip()
        before = (*argument, script.path)
        return (Way(runtime=program.rpartition("/")[2], program=program, before=before, why=line),)
    return tuple(
        Way(runtime=name, program=name, before=(script.path,), why="PATH") for name in ("bash", "sh")
    )


def _julia(script: Script, session: Session) -> tuple[Way, ...]:
    option = ("--project=@.",) if session.julia_project else ()
    why = "PATH, the project's Project.toml" if option else "PATH"
    return (Way(runtime="Julia", program="julia", before=(*option, script.path), why=why),)


# The result is written beside the notebook under a name that holds the job's id (contract §2), which
# only the running job knows: so a shell puts it together. Source: papermill(1); jupyter-nbconvert(1).
_PAPERMILL = 'f=$1; p=$2; shift 2; exec "$p" -m papermill "$f" "${f%.ipynb}.$SHOREPOWER_JOB_ID.ipynb" "$@"'
_NBCONVERT = (
    'f=$1; p=$2; shift 2; o=${f##*/}; exec "$p" nbconvert --to notebook --execute "$f" '
    '--output "${o%.ipynb}.$SHOREPOWER_JOB_ID.ipynb" "$@"'
)


def _notebook(script: Script, session: Session) -> tuple[Way, ...]:
    places = _pythons(session)
    if session.papermill:
        runtime, code = "papermill", _PAPERMILL
    else:
        runtime, code = "jupyter nbconvert", _NBCONVERT
        beside = [(f"{place.rpartition('/')[0]}/jupyter", why) for place, why in places if "/" in place]
        places = [*beside, ("jupyter", "PATH")]
    wrap = ("/bin/sh", "-c", code, "sh", script.path)
    return tuple(Way(runtime=runtime, program=program, wrap=wrap, why=why) for program, why in places)


def _quarto(script: Script, session: Session) -> tuple[Way, ...]:
    return (Way(runtime="Quarto", program="quarto", before=("render", script.path), why="PATH"),)


def _rmarkdown(script: Script, session: Session) -> tuple[Way, ...]:
    render = "rmarkdown::render(commandArgs(TRUE)[1])"
    before = ("-e", render, script.path)
    return (Way(runtime="R Markdown", program="Rscript", before=before, why="PATH"),)


_RULES: dict[str, Callable[[Script, Session], tuple[Way, ...]]] = {
    ".py": _python,
    ".R": _rscript,
    ".r": _rscript,
    ".sh": _sh,
    ".jl": _julia,
    ".ipynb": _notebook,
    ".qmd": _quarto,
    ".Rmd": _rmarkdown,
}


def _shebang(line: str) -> list[str]:
    """Program and at most one argument of a ``#!`` line, as the kernel splits it; empty if none."""
    if not line.startswith("#!"):
        return []
    return line[2:].strip().split(None, 1)
