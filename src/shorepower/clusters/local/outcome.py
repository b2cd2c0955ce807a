"""From what the records say to how an attempt ended. Pure."""

from __future__ import annotations

import signal
from datetime import datetime

from msgspec import Struct

from ...model.lifecycle import Reason, State
from ..records import Exit, Launch, Note
from ..spool import Evidence

__all__ = [
    "LAUNCH_FAILED",
    "LOST",
    "RECORDS_GONE",
    "RESTARTED",
    "End",
    "end_of",
    "forbidden",
    "without_record",
]

_LAST_SIGNAL = max(signal.valid_signals())


class End(Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    state: State
    reason: Reason | None = None
    why: str = ""
    exit_code: int | None = None
    signal: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


RESTARTED = "the machine was restarted while the job ran"
LOST = "its wrapper died without leaving a record; whatever was left of the job was ended"
RECORDS_GONE = "it had started, but its records are gone from this server"
LAUNCH_FAILED = "its start could not be recorded (is the disk full?); nothing of it ran"

# What ended it from outside. Source: the contract, §4.
_CAUSES = {
    Reason.STOPPED: (State.CANCELED, "it was stopped"),
    Reason.KILLED: (State.CANCELED, "it was killed"),
    Reason.TIME_LIMIT: (State.FAILED, "it ran longer than its time limit"),
    Reason.OUT_OF_MEMORY: (State.FAILED, "it took more memory than it asked for"),
}

_LAUNCHES = {
    Launch.DIRECTORY: "the folder it starts in cannot be entered",
    Launch.INPUT: "its standard input cannot be opened",
    Launch.OUTPUT: "its output cannot be opened",
    Launch.PROGRAM: "the program cannot be started",
}
_NOT_FOUND, _NO_PROGRAM = 127, "the program, or the interpreter that it names, was not found"


def end_of(seen: Exit, note: Note | None, *, out_of_memory: bool = False) -> End:
    """How an attempt with an exit record ended.

    What ended no later than the note was written ended on its own: the first signal comes later.
    ``out_of_memory``: the kernel is known to have ended a process for want of memory meanwhile.
    """
    if note is not None and note.cause in _CAUSES and seen.up_cs > note.up_cs:
        state, why = _CAUSES[note.cause]
        return _end(seen, state, note.cause, why)
    if seen.launch is not Launch.NOTHING:
        not_found = seen.launch is Launch.PROGRAM and seen.code == _NOT_FOUND
        return _end(seen, State.FAILED, Reason.LAUNCH, _NO_PROGRAM if not_found else _LAUNCHES[seen.launch])
    if seen.code == 0:
        return _end(seen, State.COMPLETED, None, "")
    number = seen.code - 128
    if not 0 < number <= _LAST_SIGNAL:
        return _end(seen, State.FAILED, Reason.EXIT_CODE, f"it ended with exit code {seen.code}")
    if out_of_memory and number == signal.SIGKILL:
        why = "the kernel ended it because memory ran out"
        return _end(seen, State.FAILED, Reason.OUT_OF_MEMORY, why)
    return _end(seen, State.FAILED, Reason.SIGNAL, f"it was ended by signal {_name(number)}")


def without_record(seen: Evidence, now: datetime, *, same_boot: bool) -> End:
    """How an attempt ended whose wrapper is gone and left no exit record."""
    started_at = seen.fence.at if seen.fence else None
    if seen.note is not None and seen.note.cause in _CAUSES:
        state, why = _CAUSES[seen.note.cause]
        return End(state=state, reason=seen.note.cause, why=why, started_at=started_at, ended_at=now)
    if not same_boot:
        reason, why = Reason.NODE_LOST, RESTARTED
    elif seen.fence is None or not seen.reserved:
        reason, why, started_at = Reason.LAUNCH, LAUNCH_FAILED, None
    else:
        reason, why = Reason.LOST, LOST
    return End(state=State.FAILED, reason=reason, why=why, started_at=started_at, ended_at=now)


def forbidden(reason: Reason, at: datetime) -> End:
    """It was stopped while it waited, and can never start."""
    return End(state=State.CANCELED, reason=reason, why="it was stopped before it started", ended_at=at)


def _end(seen: Exit, state: State, reason: Reason | None, why: str) -> End:
    number = seen.code - 128
    by_signal = 0 < number <= _LAST_SIGNAL
    return End(
        state=state,
        reason=reason,
        why=why,
        exit_code=seen.code,
        signal=number if by_signal else None,
        started_at=seen.began_at,
        ended_at=seen.at,
    )


def _name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal
        return str(number)
