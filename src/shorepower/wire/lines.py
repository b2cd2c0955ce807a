"""The lines of ``--json``: one object each, told apart by ``type``. Within 1.x fields are only added."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, Struct, UnsetType

from ..model.events import Event
from ..model.job import Job
from ..model.output import Stream

__all__ = [
    "LINES",
    "Beside",
    "EndLine",
    "EventLine",
    "GapLine",
    "Home",
    "JobLine",
    "Left",
    "OutputLine",
    "ProgressLine",
]


class JobLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="job"):
    """A job was submitted, or its state changed, or that of some tasks of an array."""

    v: int = 1
    job: Job


class OutputLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="output"):
    """A piece of output, with exactly one of ``text`` and ``base64``."""

    v: int = 1
    job: str
    stream: Stream
    task: int
    attempt: int
    offset: int
    """Of its first byte, in its stream."""
    text: str | UnsetType = UNSET
    """Where the bytes are UTF-8."""
    base64: str | UnsetType = UNSET
    """Where they are not."""


class GapLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="gap"):
    """Output that is no longer kept."""

    v: int = 1
    job: str
    stream: Stream
    task: int
    attempt: int
    offset: int
    missing_bytes: int


class ProgressLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="progress"):
    """What a running job says of itself."""

    v: int = 1
    job: str
    fraction: float | None = None
    text: str = ""
    at: datetime


class EventLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """News of ``shore events``."""

    v: int = 1
    event: Event


class Beside(Struct, frozen=True):
    """A file of the user's that stayed, and the name that the job's was given."""

    path: str
    instead: str


class Left(Struct, frozen=True):
    """A file that stayed on the server."""

    path: str
    size_bytes: int
    why: str


class Home(Struct, frozen=True, kw_only=True):
    """What a pull did."""

    folder: str
    written: tuple[str, ...] = ()
    beside: tuple[Beside, ...] = ()
    left: tuple[Left, ...] = ()
    faults: tuple[str, ...] = ()
    size_bytes: int = 0


class EndLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="end"):
    """The last line of a job that ended."""

    v: int = 1
    job: Job
    home: Home | None = None
    """What came home; null when nothing was asked to."""


LINES = (JobLine, OutputLine, GapLine, ProgressLine, EventLine, EndLine)
"""Every kind there is."""
