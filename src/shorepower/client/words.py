"""The words of a command: whether the first is a script, and which file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from ..model.errors import Fault, InvalidRequest
from ..model.names import quoted
from ..model.runtime import SUFFIXES, suffix_of, suffix_table
from .interpreters import find_program
from .options import Options

__all__ = ["find_script", "is_there", "no_such_program", "whole_commands"]


def find_script(words: Sequence[str], options: Options, cwd: Path) -> Path | None:
    """The script's file, or None for a command. Raises InvalidRequest when it is not there."""
    if not words or not words[0]:
        raise InvalidRequest([Fault("SCRIPT", "nothing to run: give a script, or a command after --")])
    if options.command:
        return None
    first = words[0]
    file = cwd / first
    if options.command is None and not file.is_file() and suffix_of(first) not in SUFFIXES:
        return None
    if file.is_dir():
        raise InvalidRequest([Fault("SCRIPT", f"{quoted(first)} is a folder; name a script in it")])
    if not file.exists():
        raise InvalidRequest([Fault("SCRIPT", _no_such_script(first, cwd))])
    if not file.is_file():
        raise InvalidRequest([Fault("SCRIPT", f"{quoted(first)} is no regular file")])
    return file


def whole_commands(words: list[str], options: Options) -> tuple[list[str], Options, bool]:
    """Where an array file alone says what runs: its rows are commands of a shell, and the job is called
    like the file unless it has a name. (words, options, whether it is so)."""
    file = options.array_file
    if file is None or words:
        return words, options, False
    name = options.name or (file.name if str(file) != "-" else "commands")
    return ["sh", "-c"], replace(options, command=True, name=name), True


def is_there(program: str, env: Mapping[str, str], cwd: Path) -> bool:
    """Whether the program of a command can be run from here."""
    if "/" in program:
        return os.access(cwd / program, os.X_OK)
    return find_program(program, env, any_environment=True) is not None


def no_such_program(program: str, cwd: Path) -> Fault:
    """What is wrong with a command whose program is not here."""
    if (cwd / program).is_file() and "/" not in program:
        return Fault(
            "COMMAND",
            f"no program {quoted(program)} in PATH; for the script here leave -- out, "
            f"for a file with the run bit write ./{program}",
        )
    if (cwd / program).is_file():
        return Fault("COMMAND", f"{quoted(program)} has no run bit: chmod +x {program}")
    return Fault("COMMAND", f"no program {quoted(program)} {'there' if '/' in program else 'in PATH'}")


def _no_such_script(typed: str, cwd: Path) -> str:
    folder = (cwd / typed).parent
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return f"no script {quoted(typed)}: there is no folder {quoted(str(folder))} to read"
    known = [name for name in names if suffix_of(name) in SUFFIXES]
    from difflib import get_close_matches

    name = Path(typed).name
    if near := get_close_matches(name, known, 1) or [one for one in known if one.lower() == name.lower()]:
        beside = Path(typed).parent / near[0]
        return f"no script {quoted(typed)}; did you mean {quoted(str(beside))}?"
    if suffix_of(typed) not in SUFFIXES and "/" not in typed:
        known_are = f"no script {quoted(typed)} here (known are {suffix_table()})"
        return f"{known_are}; to run a command write: -- {typed}"
    return f"no script {quoted(typed)} in {folder}"
