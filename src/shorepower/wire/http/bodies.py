"""The bodies of requests and answers that are not model structs themselves."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from ...model.caller import Scope
from ...model.cluster import ClusterInfo
from ...model.decoding import json_decoder
from ...model.errors import Fault, InvalidRequest
from ...model.events import Event
from ...model.job import Job, JobSpec
from ...model.lifecycle import Attempt, State
from ...model.output import OutputPiece, Stream
from ...model.results import FileEntry, ResultsState
from ...model.task import Task
from ..fields import Unknown, faults_in, unknown_in

__all__ = [
    "AttemptList",
    "ClusterList",
    "EndRequest",
    "EventPage",
    "FileHead",
    "FileList",
    "FileWanted",
    "JobPage",
    "KeepRequest",
    "LookRequest",
    "MissingAnswer",
    "MissingRequest",
    "OutputAnswer",
    "OutputHead",
    "OutputPart",
    "PruneAnswer",
    "PruneRequest",
    "ReadRequest",
    "ServerInfo",
    "StopAnswer",
    "SubmitRequest",
    "TaskPage",
    "TokenRequest",
    "ValueHead",
    "ValuesRequest",
    "WarnedRequest",
    "decode_body",
    "output_head",
    "output_part",
    "unknown_fields",
]

T = TypeVar("T")

Moment = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with an offset."""


class ServerInfo(Struct, frozen=True, kw_only=True):
    """Who answers."""

    version: str
    protocol: str = "v1"
    host: str = ""
    pid: int = 0
    user: str = ""
    private: bool = False
    state_dir: str = ""
    started_at: datetime | None = None
    counts: dict[State, int] = {}
    """How many jobs are in which state."""


class StopAnswer(Struct, frozen=True, kw_only=True):
    """The server is on its way out; jobs live on."""

    running: int
    """Jobs that go on without it."""


class SubmitRequest(Struct, frozen=True, kw_only=True):
    """A job to record."""

    spec: JobSpec
    secrets: dict[str, str] = {}
    """Values of the variables that ``spec.secrets`` names; kept apart from everything else."""


class JobPage(Struct, frozen=True, kw_only=True):
    """Some jobs, newest first."""

    jobs: tuple[Job, ...]
    next: str | None = None
    """The cursor of the next page."""


class TaskPage(Struct, frozen=True, kw_only=True):
    """Some tasks of a job."""

    tasks: tuple[Task, ...]
    next: str | None = None
    """The cursor of the next page."""


class EndRequest(Struct, frozen=True, kw_only=True):
    """What of a job is to end; the body may be left out."""

    tasks: str | None = None
    """Only these tasks of an array, by index: ``3-5,9``."""


class AttemptList(Struct, frozen=True, kw_only=True):
    """Every attempt of a job so far."""

    attempts: tuple[Attempt, ...]


class OutputHead(Struct, frozen=True, kw_only=True):
    """The header of one frame of output."""

    kind: str
    """``output``, ``gap``, ``alive``, ``more`` (the time is over: go on from the cursor) or ``end``."""
    stream: Stream = Stream.STDOUT
    task: int = 0
    attempt: int = 1
    offset: int = 0
    missing_bytes: int = 0
    """Length of a gap."""
    cursor: str = ""
    """Where to go on after this frame."""


class OutputPart(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of output in JSON: exactly one of ``text`` and ``base64`` where there are bytes."""

    kind: str
    """``output``, ``gap`` or ``end``."""
    stream: Stream
    task: int
    attempt: int
    offset: int
    text: str | None = None
    """The bytes, where they are UTF-8."""
    base64: str | None = None
    """The bytes, where they are not."""
    missing_bytes: int = 0
    cursor: str = ""


class OutputAnswer(Struct, frozen=True, kw_only=True):
    """Some output and where to go on."""

    pieces: tuple[OutputPart, ...]
    cursor: str
    ended: bool
    """The job ended and everything was read."""


class EventPage(Struct, frozen=True, kw_only=True):
    """Events after a number, and the number to go on from."""

    events: tuple[Event, ...]
    next: int


class ClusterList(Struct, frozen=True, kw_only=True):
    """Last known information about each cluster."""

    clusters: tuple[ClusterInfo, ...]


class LookRequest(Struct, frozen=True, kw_only=True):
    """Paths to look at, as the caller."""

    paths: tuple[str, ...]


class MissingRequest(Struct, frozen=True, kw_only=True):
    """Digests that the caller wants to refer to."""

    digests: tuple[str, ...]


class MissingAnswer(Struct, frozen=True, kw_only=True):
    """Those that the caller must still send."""

    missing: tuple[str, ...]


class FileList(Struct, frozen=True, kw_only=True):
    """What came out of a job so far."""

    state: ResultsState
    entries: tuple[FileEntry, ...]


class FileWanted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One listed file, from an offset on; exactly one of ``path`` and ``path_b64`` is given."""

    path: str = ""
    path_b64: str = ""
    area: str = "project"
    offset: Annotated[int, Meta(ge=0)] = 0

    def raw_path(self) -> bytes:
        """The name as it is on disk. Raises InvalidRequest."""
        if bool(self.path) == bool(self.path_b64):
            raise InvalidRequest("give exactly one of path and path_b64")
        if self.path:
            return self.path.encode(errors="strict")
        try:
            return base64.b64decode(self.path_b64, validate=True)
        except binascii.Error:
            raise InvalidRequest("path_b64 is no base64") from None


class ReadRequest(Struct, frozen=True, kw_only=True):
    """Files to read."""

    entries: Annotated[tuple[FileWanted, ...], Meta(max_length=10_000)]


class FileHead(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The header of one frame of a file's content."""

    path: str = ""
    path_b64: str = ""
    area: str
    offset: int
    eof: bool
    """The file ends with this frame."""
    error: str = ""
    """Why nothing (more) of this file comes; ``eof`` is false then."""


class ValuesRequest(Struct, frozen=True, kw_only=True):
    """How much of each task's values the reader has."""

    offsets: dict[Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=0)]] = {}
    """Bytes by index; a task that is not named is read from its beginning."""
    wait: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds to wait for something new; at most 60."""


class ValueHead(Struct, frozen=True, kw_only=True):
    """The header of one frame of values."""

    kind: str
    """``value``, ``alive``, ``more`` (the time or the room is over: go on) or ``end``."""
    task: int = 0
    """The user's own index; 0 for a job that is no array."""
    offset: int = 0


class KeepRequest(Struct, frozen=True, kw_only=True):
    """Until when results are kept."""

    until: Moment | None
    """Null keeps them for good."""


class PruneRequest(Struct, frozen=True, kw_only=True):
    """What to remove besides what is expired."""

    results: bool = False
    """Results that were pulled."""
    unfetched: bool = False
    """Results that were not."""
    ended_before: Moment | None = None


class PruneAnswer(Struct, frozen=True, kw_only=True):
    """What that freed."""

    freed_bytes: int
    uploading: bool = False
    """An upload of the caller's goes on: what it has sent stays until nothing was heard of it for five
    minutes."""


class WarnedRequest(Struct, frozen=True, kw_only=True):
    """What a command has shown."""

    as_of: Moment
    """As it came with what was shown."""


class TokenRequest(Struct, frozen=True, kw_only=True):
    """A token to make."""

    name: str
    scope: Scope = Scope.FULL
    expires_at: Moment | None = None


def output_head(piece: OutputPiece) -> dict[str, Any]:
    """The header of a piece's frame, without its size; a gap's length only where there is a gap."""
    head: dict[str, Any] = {
        "kind": piece.kind,
        "stream": piece.stream,
        "task": piece.task,
        "attempt": piece.attempt,
        "offset": piece.offset,
        "cursor": piece.cursor,
    }
    if piece.kind == "gap":
        head["missing_bytes"] = piece.missing_bytes
    return head


def output_part(piece: OutputPiece) -> OutputPart:
    """A piece as JSON carries it."""
    text: str | None = None
    encoded: str | None = None
    if piece.data:
        try:
            text = piece.data.decode()
        except UnicodeDecodeError:
            encoded = base64.b64encode(piece.data).decode()
    return OutputPart(
        kind=piece.kind,
        stream=piece.stream,
        task=piece.task,
        attempt=piece.attempt,
        offset=piece.offset,
        text=text,
        base64=encoded,
        missing_bytes=piece.missing_bytes,
        cursor=piece.cursor,
    )


def decode_body(data: bytes, kind: type[T]) -> T:
    """A request's body. Raises InvalidRequest with every fault at once."""
    try:
        return json_decoder(kind).decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_every_fault(data, kind) or [Fault("", str(error))]) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest([Fault("", f"the body is no JSON document: {error}")]) from None


def unknown_fields(data: bytes, kind: type) -> tuple[Unknown, ...]:
    """The keys of a valid body that nobody here knows."""
    return unknown_in(msgspec.json.decode(data), kind)


def _every_fault(data: bytes, kind: type) -> tuple[Fault, ...]:
    try:
        return faults_in(msgspec.json.decode(data), kind)
    except (msgspec.DecodeError, RecursionError) as error:
        return (Fault("", f"the body is no JSON document: {error}"),)
