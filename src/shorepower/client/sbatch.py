"""``#SBATCH`` lines of a script: what they ask for in our words, and what cannot be said in them. Pure.

Only the leading block of comment lines counts, and flags of the command win. Letters keep sbatch's
meaning here. Source: sbatch(1).
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable
from datetime import datetime

from msgspec import Struct

from ..model.dependency import Want
from ..model.errors import Fault
from ..model.resources import parse_cpus, parse_duration, parse_gpus, parse_memory
from .order import parse_dependency, parse_moment

__all__ = ["Directives", "SavedOutput", "read_directives", "saved_output"]


class Directives(Struct, kw_only=True):
    """What the lines say. Values are as `client.options.Options` has them; None was not said."""

    name: str | None = None
    cpus: float | None = None
    memory_mib: int | None = None
    wall_time_s: int | None = None
    gpus: tuple[int, str | None] | None = None
    queue: str | None = None
    workdir: str | None = None
    array: str | None = None
    output: str | None = None
    """Where standard output goes, and standard error with it unless ``error`` is said; a pattern."""
    error: str | None = None
    dependency: dict[Want, tuple[str, ...]] = {}
    """Names of jobs by what is wanted of them."""
    not_before: datetime | None = None
    present: bool = False
    """There was at least one such line."""
    unmapped: tuple[str, ...] = ()
    """Options as written that have no meaning here yet."""
    faults: tuple[Fault, ...] = ()


# Long name → the field and how its value is read.
_MEANING: dict[str, tuple[str, Callable[[str], object]]] = {
    "job-name": ("name", str),
    "cpus-per-task": ("cpus", parse_cpus),
    "mem": ("memory_mib", parse_memory),
    "time": ("wall_time_s", parse_duration),
    "gres": ("gpus", lambda text: parse_gpus(_gres(text))),
    "gpus": ("gpus", parse_gpus),
    "gpus-per-node": ("gpus", parse_gpus),
    "partition": ("queue", str),
    "chdir": ("workdir", str),
    "array": ("array", str),
    "dependency": ("dependency", parse_dependency),
    "begin": ("not_before", lambda text: parse_moment(text, datetime.now().astimezone())),
    "output": ("output", str),
    "error": ("error", str),
}
_LETTERS = {
    "J": "job-name",
    "c": "cpus-per-task",
    "t": "time",
    "G": "gpus",
    "p": "partition",
    "D": "chdir",
    "a": "array",
    "d": "dependency",
    "b": "begin",
    "o": "output",
    "e": "error",
}
_FLAGS = frozenset("hHIkKQsv")
# Saying what is so anyway: one node, one task of one job.
_SILENT = {("nodes", "1"), ("ntasks", "1"), ("N", "1"), ("n", "1"), ("ntasks-per-node", "1")}


def read_directives(lines: Iterable[str]) -> Directives:
    """What the leading comment block of a script asks for."""
    said = Directives()
    unmapped: list[str] = []
    faults: list[Fault] = []
    for line in _leading(lines):
        said.present = True
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            faults.append(Fault("#SBATCH", f"#SBATCH {line}: {error}"))
            continue
        for option, value, written in _pairs(words):
            _apply(said, option, value, written, unmapped, faults)
    said.unmapped, said.faults = tuple(unmapped), tuple(faults)
    return said


class SavedOutput(Struct, frozen=True, kw_only=True):
    """Where the output is also saved, as paths in the project; and what cannot be done, as written."""

    stdout: str = ""
    stderr: str = ""
    unused: tuple[str, ...] = ()


def saved_output(said: Directives, workdir: str) -> SavedOutput:
    """What ``-o`` and ``-e`` come to for a job that starts in ``workdir``, a folder of the project.

    Source: sbatch(1): standard error goes where standard output goes, unless it is said.
    """
    unused = []
    found: dict[str, str] = {}
    for letter, written in (("o", said.output), ("e", said.error)):
        if written is None:
            continue
        path = posixpath.normpath(posixpath.join(workdir, written))
        if written.endswith("/") or path == "." or path.startswith(("/", "../")) or path == "..":
            unused.append(f"-{letter} {written} (no file in the project)")
        else:
            found[letter] = path
    stdout = found.get("o", "")
    return SavedOutput(
        stdout=stdout,
        stderr=found.get("e", "") if said.error is not None else stdout,
        unused=tuple(unused),
    )


def _leading(lines: Iterable[str]) -> Iterable[str]:
    """The rest of each ``#SBATCH`` line before the first line that is neither comment nor blank."""
    for line in lines:
        text = line.strip()
        if text and not text.startswith("#"):
            return
        if found := re.match(r"#SBATCH\s+(\S.*)", text):
            yield found[1]


def _pairs(words: list[str]) -> Iterable[tuple[str, str | None, str]]:
    """(long name or letter, value, as written) of each option."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if not equals and rest and not rest[0].startswith("-"):
                value = rest.pop(0)
                yield name, value, f"{word} {value}"
            else:
                yield name, value if equals else None, word
        elif word.startswith("-") and len(word) > 1:
            letter, value = word[1], word[2:]
            if letter in _FLAGS:
                yield letter, None, word
            elif value:
                yield letter, value, word
            elif rest:
                value = rest.pop(0)
                yield letter, value, f"{word} {value}"
            else:
                yield letter, None, word
        else:
            yield "", None, word


def _apply(
    said: Directives,
    option: str,
    value: str | None,
    written: str,
    unmapped: list[str],
    faults: list[Fault],
) -> None:
    if (option, value) in _SILENT:
        return
    meaning = _MEANING.get(_LETTERS.get(option, option))
    if meaning is None or value is None:
        unmapped.append(written)
        return
    field, read = meaning
    try:
        setattr(said, field, read(value))
    except ValueError as error:
        faults.append(Fault("#SBATCH", f"#SBATCH {written}: {error}"))


def _gres(text: str) -> str:
    """``a100:2`` of ``gpu:a100:2``; ``1`` of ``gpu``."""
    kind, _, rest = text.partition(":")
    if kind != "gpu":
        raise ValueError(f"{text!r}: only gpu is known of --gres")
    if not rest:
        return "1"
    return rest if rest.rpartition(":")[2].isdecimal() else f"{rest}:1"
