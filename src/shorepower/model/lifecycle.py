"""States, reasons, and the one function that moves an attempt.

A job, a task and an attempt share the six states. Ended states are final.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from .tasks import ONE_TASK, TaskSet
from .usage import Usage

__all__ = [
    "ENDED",
    "Attempt",
    "Observation",
    "Operation",
    "Phase",
    "Reason",
    "State",
    "advance",
    "combine",
    "exit_status",
]


class State(StrEnum):
    """Where a job, a task or an attempt stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def ended(self) -> bool:
        """Whether this state is final."""
        return self in ENDED


ENDED = frozenset({State.COMPLETED, State.FAILED, State.CANCELED})


class Reason(StrEnum):
    """Why a state is what it is. A closed table: pending, failed, canceled."""

    # PENDING
    QUEUED = "QUEUED"
    RESOURCES = "RESOURCES"
    HELD = "HELD"
    BEGIN_TIME = "BEGIN_TIME"
    UNREACHABLE = "UNREACHABLE"
    MEMORY_PRESSURE = "MEMORY_PRESSURE"
    # FAILED
    EXIT_CODE = "EXIT_CODE"
    SIGNAL = "SIGNAL"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    TIME_LIMIT = "TIME_LIMIT"
    NODE_LOST = "NODE_LOST"
    PREEMPTED = "PREEMPTED"
    LAUNCH = "LAUNCH"
    LOST = "LOST"
    ABANDONED = "ABANDONED"
    # CANCELED
    STOPPED = "STOPPED"
    KILLED = "KILLED"
    DEPENDENCY = "DEPENDENCY"


class Operation(StrEnum):
    """What a caller may ask of a living job."""

    SUSPEND = "suspend"
    RESUME = "resume"
    STOP = "stop"
    """SIGTERM, then SIGKILL after a grace."""
    KILL = "kill"
    """SIGKILL at once."""


class Phase(StrEnum):
    """Where a submission stands between us and the scheduler."""

    HELD = "held"
    """A dependency, a begin time, a throttle window or a retry delay is not over."""
    DUE = "due"
    HANDING = "handing"
    """Durable before anything is sent; whether it arrived is unknown until adopted."""
    HANDED = "handed"
    CLOSED = "closed"


class Observation(Struct, frozen=True, kw_only=True):
    """What a cluster saw of one submission's tasks at one moment."""

    submission: str
    tasks: TaskSet = ONE_TASK
    restart: int = 0
    """How often the scheduler itself started this submission again (requeue)."""
    as_of: float
    """Seconds; comparable only with observations of the same source and submission."""
    source: str
    """Who saw it (``local``, ``squeue``, ``sacct``, ``wrapper``)."""
    state: State
    reason: Reason | None = None
    why: str = ""
    """One sentence for a person."""
    exit_code: int | None = None
    signal: int | None = None
    host: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    usage: Usage | None = None


class Attempt(Struct, frozen=True, kw_only=True):
    """One try of one task."""

    job: str
    task: int = 0
    number: int = 1
    submission: str
    restart: int = 0
    state: State = State.PENDING
    reason: Reason | None = None
    why: str = ""
    exit_code: int | None = None
    signal: int | None = None
    host: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    usage: Usage | None = None
    seen: dict[str, tuple[int, float]] = {}
    """Per source: the (restart, as_of) of the newest living observation folded in."""


_NEVER = (-1, float("-inf"))


def advance(attempt: Attempt, seen: Observation) -> Attempt:
    """Fold one observation into an attempt; stale or repeated news returns ``attempt`` itself.

    An end of the same or a later restart is always accepted, once. Moves between living states
    are ordered by (restart, as_of) per source. A changed reason or sentence is news.
    """
    if attempt.state.ended or seen.restart < attempt.restart:
        return attempt
    stamp = (seen.restart, seen.as_of)
    if not seen.state.ended and stamp <= attempt.seen.get(seen.source, _NEVER):
        return attempt
    if (
        not seen.state.ended
        and seen.restart == attempt.restart
        and seen.state is State.PENDING
        and attempt.state is not State.PENDING
    ):
        return attempt  # within one restart nothing goes back to waiting: a late listing
    told = replace(
        attempt,
        restart=seen.restart,
        state=seen.state,
        reason=seen.reason,
        why=seen.why,
        exit_code=seen.exit_code,
        signal=seen.signal,
        host=seen.host or attempt.host,
        started_at=seen.started_at or attempt.started_at,
        ended_at=seen.ended_at if seen.state.ended else None,
        usage=seen.usage or attempt.usage,
    )
    if told == attempt:
        return attempt
    return replace(told, seen={**attempt.seen, seen.source: stamp})


def combine(counts: dict[State, int]) -> State:
    """The state of a job from how many of its tasks are in which state.

    Living tasks decide first; an ended job is FAILED if any task failed, else CANCELED if any was.
    """
    for state in (State.RUNNING, State.SUSPENDED):
        if counts.get(state):
            return state
    if counts.get(State.PENDING):
        started = sum(counts.get(state, 0) for state in ENDED)
        return State.RUNNING if started else State.PENDING
    for state in (State.FAILED, State.CANCELED):
        if counts.get(state):
            return state
    return State.COMPLETED


# Source: the contract's exit codes. Reasons absent here are told by exit code or signal.
_STATUS = {
    Reason.OUT_OF_MEMORY: 137,
    Reason.STOPPED: 143,
    Reason.KILLED: 137,
    Reason.TIME_LIMIT: 124,
    Reason.NODE_LOST: 120,
    Reason.PREEMPTED: 120,
    Reason.LAUNCH: 120,
    Reason.LOST: 120,
    Reason.ABANDONED: 120,
    Reason.DEPENDENCY: 120,
}


def exit_status(state: State, reason: Reason | None, exit_code: int | None, signal: int | None) -> int:
    """The exit status that an attached command ends with for an ended job."""
    if state is State.COMPLETED:
        return 0
    if reason is Reason.SIGNAL and signal:
        return 128 + signal
    if reason in _STATUS:
        return _STATUS[reason]
    return exit_code if exit_code is not None else 1
