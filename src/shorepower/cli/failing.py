"""How a command that fails says so, and the exit code that it ends with (contract §4)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import click

from .voice import say

if TYPE_CHECKING:
    from ..wire.http.problems import Problem

__all__ = ["exit_code"]

_URN = "urn:shorepower:problem:"
USAGE, UNREACHABLE, NOT_ALLOWED, NOT_FOUND, TIME_LIMIT, LAUNCH, LEFT = 2, 121, 122, 123, 124, 120, 130


def exit_code(error: BaseException, words: Sequence[str]) -> int:
    """Tell what happened on stderr and return the exit code for it."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt | click.Abort):
        say("interrupted")
        return LEFT
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return 0
    if isinstance(error, BrokenPipeError):
        # Whoever read our output is gone; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    if isinstance(error, OSError) and (why := _unwritten()):
        say(f"standard output could not be written: {why}")
        return 1
    as_json = wants_json(words)
    if isinstance(error, click.ClickException):
        _usage(error, as_json)
        return USAGE
    return _told(error, as_json)


def _unwritten() -> str:
    """Why what was printed cannot leave, and nothing more is tried then; empty when all is well."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return (error.strerror or type(error).__name__).lower()
    return ""


def wants_json(words: Sequence[str]) -> bool:
    """Whether the words before a bare ``--`` ask for JSON; for when they could not be parsed."""
    own = list(words[: words.index("--")]) if "--" in words else list(words)
    return "--json" in own or "-ojson" in own or ("-o", "json") in pairwise(own)


def _usage(error: click.ClickException, as_json: bool) -> None:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption):
        from .options import no_option

        message = no_option(error)
    if as_json:
        from ..wire.http.problems import Problem

        _print(Problem(type=f"{_URN}usage", title="Wrong usage", status=400, detail=message))
        return
    say(message[:1].lower() + message[1:] if message[1:2].islower() else message)
    if isinstance(error, click.UsageError) and error.ctx is not None:
        say(f"see: {error.ctx.command_path} --help")


def _told(error: BaseException, as_json: bool) -> int:
    from ..client.errors import LeftRunning
    from ..model.errors import InvalidRequest, ShorepowerError

    known = isinstance(error, ShorepowerError | OSError | TimeoutError)
    if not known and os.environ.get("SHORE_DEBUG"):
        raise error
    sentence = str(error)
    if not known:
        sentence = (
            f"this is a defect of shorepower: {type(error).__name__}: {error}; SHORE_DEBUG=1 shows where"
        )
    if as_json:
        _print(_problem(error, sentence))
    elif isinstance(error, InvalidRequest):
        for fault in error.faults:
            say(fault.message)
    else:
        say(sentence)
    return LEFT if isinstance(error, LeftRunning) else _code(error)


def _code(error: BaseException) -> int:
    """The exit code. Source: the contract, §4."""
    from ..client.errors import VersionMismatch
    from ..model import errors

    table: tuple[tuple[type[BaseException], int], ...] = (
        (errors.InvalidRequest, USAGE),
        (errors.TooLarge, USAGE),
        (errors.NotFound, NOT_FOUND),
        (errors.NotAllowed, NOT_ALLOWED),
        (errors.NotAuthenticated, NOT_ALLOWED),
        (errors.Busy, UNREACHABLE),
        (errors.Unreachable, UNREACHABLE),
        (errors.StateDirectoryFault, UNREACHABLE),
        (VersionMismatch, UNREACHABLE),
        (errors.SubmitRefused, LAUNCH),
        (TimeoutError, TIME_LIMIT),
    )
    return next((code for kind, code in table if isinstance(error, kind)), 1)


def _problem(error: BaseException, sentence: str) -> Problem:
    from ..client.errors import VersionMismatch
    from ..model.errors import ShorepowerError
    from ..wire.http.problems import Problem, problem_of

    if isinstance(error, VersionMismatch):
        return Problem(type=f"{_URN}version", title="Versions too far apart", status=426, detail=sentence)
    if isinstance(error, ShorepowerError):
        return problem_of(error)
    if isinstance(error, TimeoutError):
        return Problem(type=f"{_URN}timeout", title="Waited long enough", status=408, detail=sentence)
    return Problem(type=f"{_URN}failed", title="Failed", status=500, detail=sentence)


def _print(problem: Problem) -> None:
    import msgspec

    try:
        sys.stderr.write(msgspec.json.encode(problem).decode() + "\n")
    except OSError:
        pass  # nobody listens any more
