"""How a command that fails says so, and the exit code that it ends with (contract §4)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise

import click

from .voice import say

__all__ = ["exit_code"]

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
    if isinstance(error, BrokenPipeError):
        # Whoever read our output is gone; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    as_json = wants_json(words)
    if isinstance(error, click.ClickException):
        _usage(error, as_json)
        return USAGE
    return _told(error, as_json)


def wants_json(words: Sequence[str]) -> bool:
    """Whether the words before a bare ``--`` ask for JSON; for when they could not be parsed."""
    own = list(words[: words.index("--")]) if "--" in words else list(words)
    return "--json" in own or "-ojson" in own or ("-o", "json") in pairwise(own)


def _usage(error: click.ClickException, as_json: bool) -> None:
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if as_json:
        _problem("usage", 400, message, [])
        return
    say(message[:1].lower() + message[1:] if message[1:2].islower() else message)
    if context is not None:
        say(f"see: {context.command_path} --help")


def _told(error: BaseException, as_json: bool) -> int:
    from ..client.errors import LeftRunning
    from ..model.errors import InvalidRequest, ShorepowerError

    kind, status, code = _classify(error)
    if isinstance(error, LeftRunning):
        say(str(error))
        return LEFT
    if not isinstance(error, ShorepowerError | OSError | TimeoutError):
        if os.environ.get("SHORE_DEBUG"):
            raise error
        sentence = (
            f"this is a defect of shorepower: {type(error).__name__}: {error}; SHORE_DEBUG=1 shows where"
        )
    else:
        sentence = str(error)
    faults = list(error.faults) if isinstance(error, InvalidRequest) else []
    if as_json:
        _problem(kind, status, sentence, [{"field": one.field, "message": one.message} for one in faults])
        return code
    for line in [fault.message for fault in faults] or [sentence]:
        say(line)
    return code


def _classify(error: BaseException) -> tuple[str, int, int]:
    """(problem type, status, exit code)."""
    from ..client.errors import ServerFault, VersionMismatch
    from ..model import errors

    table: tuple[tuple[type[BaseException], str, int, int], ...] = (
        (errors.InvalidRequest, "invalid-request", 400, USAGE),
        (errors.TooLarge, "too-large", 413, USAGE),
        (errors.NotFound, "not-found", 404, NOT_FOUND),
        (errors.NotAllowed, "not-allowed", 403, NOT_ALLOWED),
        (errors.NotAuthenticated, "not-authenticated", 401, NOT_ALLOWED),
        (errors.Conflict, "conflict", 409, 1),
        (errors.Busy, "busy", 503, UNREACHABLE),
        (errors.Unreachable, "unreachable", 503, UNREACHABLE),
        (VersionMismatch, "version", 426, UNREACHABLE),
        (errors.StateDirectoryFault, "state-directory", 500, UNREACHABLE),
        (errors.StorageFault, "storage", 507, 1),
        (ServerFault, "server", 500, 1),
        (TimeoutError, "timeout", 408, TIME_LIMIT),
    )
    for kind, name, status, code in table:
        if isinstance(error, kind):
            return name, status, code
    return "defect", 500, 1


def _problem(kind: str, status: int, detail: str, faults: list[dict[str, str]]) -> None:
    import json

    document = {
        "type": f"urn:shorepower:{kind}",
        "title": kind.replace("-", " "),
        "status": status,
        "detail": detail,
        "faults": faults,
    }
    try:
        sys.stderr.write(json.dumps(document) + "\n")
    except OSError:
        pass  # nobody listens any more
