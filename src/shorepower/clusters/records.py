"""What is written down about an attempt in its spool folder, and how it is read. Pure.

Every record is one line of ``key=value`` words that begins with ``v=1`` and closes with the word
``end``; a line without that word was cut short and counts as absent. Bytes after the line are padding.
Moments (``at_cs``) are hundredths of a second since 1970, ``up_cs`` since the machine was started.

::

    start.<task>.<restart>   the fence: created exclusively, by the wrapper or by who forbids a start
    exit.<task>.<restart>    reserved by the wrapper before the program starts, written over at its end
    note.<task>.<restart>    why we are about to end it; written before the first signal
    refused                  tasks of an array that were stopped while they waited: a line for each stop
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from msgspec import Struct

from ..model.lifecycle import Reason
from ..model.tasks import TaskSet

__all__ = [
    "Exit",
    "Fence",
    "Launch",
    "Note",
    "Refusal",
    "UnknownRecord",
    "is_reserved",
    "moment_of",
    "parse_exit",
    "parse_fence",
    "parse_note",
    "parse_refused",
    "write_note",
    "write_refusal",
    "write_refused",
]


class UnknownRecord(ValueError):
    """A record of a version, or with words, that this program does not know."""


class Launch(StrEnum):
    """What kept the user's program from starting."""

    NOTHING = "-"
    DIRECTORY = "directory"
    INPUT = "input"
    OUTPUT = "output"
    PROGRAM = "program"


class Fence(Struct, frozen=True, kw_only=True):
    """Who started an attempt, or that it must never start."""

    submission: str
    pid: int = 0
    start_time: int = 0
    boot: str = ""
    at: datetime
    up_cs: int = 0
    gpus: tuple[str, ...] = ()
    forbidden: Reason | None = None
    """It was stopped while it waited: whoever still tries to start it loses the fence."""


class Exit(Struct, frozen=True, kw_only=True):
    """How the user's program ended."""

    pid: int
    """The wrapper's, with its start time: who wrote this."""
    start_time: int
    code: int
    launch: Launch
    began_at: datetime
    at: datetime
    up_cs: int


class Note(Struct, frozen=True, kw_only=True):
    """Why an attempt is being ended from outside."""

    cause: Reason
    at: datetime
    up_cs: int


class Refusal(Struct, frozen=True, kw_only=True):
    """Tasks of an array that must never start."""

    tasks: TaskSet
    forbidden: Reason
    at: datetime


def moment_of(centiseconds: int) -> datetime:
    """Aware UTC."""
    return datetime.fromtimestamp(centiseconds / 100, UTC)


def _words(data: bytes) -> Mapping[str, str] | None:
    line, newline, _ = data.partition(b"\n")
    if not newline or not line.endswith(b" end"):
        return None
    words = line.decode("ascii", "replace").split(" ")
    if words[0] != "v=1":
        raise UnknownRecord(f"a record begins with {words[0][:20]!r}; this version reads v=1")
    return dict(word.split("=", 1) for word in words[1:-1] if "=" in word)


def parse_fence(data: bytes) -> Fence | None:
    """None: incomplete. Raises UnknownRecord."""
    words = _words(data)
    if words is None:
        return None
    try:
        return Fence(
            submission=words["submission"],
            pid=int(words.get("pid", 0)),
            start_time=int(words.get("start", 0)),
            boot=words.get("boot", ""),
            at=moment_of(int(words["at_cs"])),
            up_cs=int(words.get("up_cs", 0)),
            gpus=tuple(gpu for gpu in words.get("gpus", "").split(",") if gpu),
            forbidden=Reason(words["forbidden"]) if "forbidden" in words else None,
        )
    except (KeyError, ValueError) as fault:
        raise UnknownRecord(f"a start record cannot be read: {fault}") from None


def parse_exit(data: bytes) -> Exit | None:
    """None: incomplete, or only reserved. Raises UnknownRecord."""
    words = _words(data)
    if words is None:
        return None
    try:
        return Exit(
            pid=int(words["pid"]),
            start_time=int(words["start"]),
            code=int(words["code"]),
            launch=Launch(words["launch"]),
            began_at=moment_of(int(words["began_cs"])),
            at=moment_of(int(words["at_cs"])),
            up_cs=int(words["up_cs"]),
        )
    except (KeyError, ValueError) as fault:
        raise UnknownRecord(f"an exit record cannot be read: {fault}") from None


def is_reserved(data: bytes) -> bool:
    """Whether room for the exit record was made: before that nothing of the user's can have run."""
    return data.startswith(b"v=1 ") and b"\n" in data


def parse_note(data: bytes) -> Note | None:
    """None: incomplete. Raises UnknownRecord."""
    words = _words(data)
    if words is None:
        return None
    try:
        return Note(
            cause=Reason(words["cause"]), at=moment_of(int(words["at_cs"])), up_cs=int(words["up_cs"])
        )
    except (KeyError, ValueError) as fault:
        raise UnknownRecord(f"a note cannot be read: {fault}") from None


def write_refusal(submission: str, task: int, restart: int, forbidden: Reason, at: datetime) -> bytes:
    """A fence that says the attempt must never start."""
    return (
        f"v=1 submission={submission} part={task}.{restart}"
        f" forbidden={forbidden.value} at_cs={_cs(at)} end\n"
    ).encode("ascii")


def write_note(note: Note) -> bytes:
    """A note."""
    return f"v=1 cause={note.cause.value} at_cs={_cs(note.at)} up_cs={note.up_cs} end\n".encode("ascii")


def write_refused(refusal: Refusal) -> bytes:
    """One more line of what an array may not start."""
    spans = ",".join(f"{start}-{stop}" for start, stop in refusal.tasks.spans)
    return f"v=1 forbidden={refusal.forbidden.value} at_cs={_cs(refusal.at)} tasks={spans} end\n".encode(
        "ascii"
    )


def parse_refused(data: bytes) -> list[Refusal]:
    """Every whole line. Raises UnknownRecord."""
    found = []
    for line in data.splitlines(keepends=True):
        words = _words(line)
        if words is None:
            continue
        try:
            pairs = (span.split("-") for span in words["tasks"].split(",") if span)
            tasks = TaskSet(tuple((int(start), int(stop)) for start, stop in pairs))
            at = moment_of(int(words["at_cs"]))
            found.append(Refusal(tasks=tasks, forbidden=Reason(words["forbidden"]), at=at))
        except (KeyError, ValueError) as fault:
            raise UnknownRecord(f"a record of refused tasks cannot be read: {fault}") from None
    return found


def _cs(moment: datetime) -> int:
    return int(moment.timestamp() * 100)
