"""What a user asked to run, and how it stands."""

from __future__ import annotations

import re
from datetime import datetime
from typing import NewType

import msgspec
from msgspec import Struct

from .array import ArraySpec
from .decoding import json_decoder
from .dependency import Dependency
from .lifecycle import Operation, Phase, Reason, State
from .payload import Payload
from .resources import Resources
from .results import ResultsSummary
from .tasks import ONE_TASK, TaskSet
from .usage import Usage

__all__ = [
    "Job",
    "JobId",
    "JobSpec",
    "Link",
    "Origin",
    "Progress",
    "Submission",
    "SubmissionId",
    "is_job_id",
    "job_id_from",
    "split_submission_id",
    "submission_id",
]

JobId = NewType("JobId", str)
SubmissionId = NewType("SubmissionId", str)

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_JOB_ID = re.compile(r"[a-z][a-z2-7]{11}")


def job_id_from(random: bytes) -> JobId:
    """A job id (12 characters of a-z2-7, a letter first) from at least 12 random bytes."""
    letters = [_ALPHABET[byte & 31] for byte in random[:12]]
    letters[0] = _ALPHABET[random[0] % 26]
    return JobId("".join(letters))


def is_job_id(text: str) -> bool:
    """Whether the text has the shape of a whole job id."""
    return _JOB_ID.fullmatch(text) is not None


def submission_id(job: str, serial: int) -> SubmissionId:
    """``<job id>-<serial>``, a DNS label that every native object carries."""
    return SubmissionId(f"{job}-{serial}")


def split_submission_id(submission: str) -> tuple[JobId, int]:
    """The job and the serial of a submission id. Raises ValueError for anything else."""
    job, _, serial = submission.partition("-")
    if not is_job_id(job) or not serial.isdecimal():
        raise ValueError(f"{submission!r} is no submission id")
    return JobId(job), int(serial)


class Link(Struct, frozen=True, kw_only=True):
    """A path inside the staged project that points to the original instead of being sent."""

    path: str
    """Relative to the project, ``/`` between parts."""
    target: str
    """Absolute on the cluster."""


class Origin(Struct, frozen=True, kw_only=True):
    """Where a project was sent from, so that its results find home."""

    host: str
    """An identity of the machine (``/etc/machine-id`` where there is one), not its address."""
    directory: str
    """The project's folder there."""


class Progress(Struct, frozen=True, kw_only=True):
    """What a running job last said of itself."""

    fraction: float | None = None
    text: str = ""
    at: datetime


class JobSpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to run, where, with what. Everything a submit sends, except secret values."""

    v: int = 1
    name: str
    argv: tuple[str, ...]
    """The program and its arguments; a name without ``/`` is searched in the job's PATH."""
    cluster: str = "local"
    queue: str | None = None
    script: str = ""
    """The script as the user typed it, for display and for the history of usage."""
    resources: Resources = Resources()
    env: dict[str, str] = {}
    """The job's whole environment, except the facts (``SHOREPOWER_*``) and secrets."""
    secrets: tuple[str, ...] = ()
    """Names of secret variables; their values never enter a spec."""
    tree: str | None = None
    """Digest of the snapshot's root tree object; None runs in an empty folder or in place."""
    project: str = ""
    """The project's folder as the user knows it, for display."""
    workdir: str = ""
    """Where the job starts: relative to the project, or absolute when ``in_place``."""
    in_place: bool = False
    """Run in ``workdir`` itself: nothing is staged and nothing is collected."""
    links: tuple[Link, ...] = ()
    source_roots: tuple[str, ...] = ()
    """Folders of the project, relative to it, that come first in ``PYTHONPATH`` as staged: what an
    editable install of the project would have pointed to."""
    origin: Origin | None = None
    results: tuple[str, ...] = ()
    """Globs that narrow what comes home; empty takes everything new or changed."""
    hold_back: tuple[str, ...] = ()
    """gitignore-style lines of what never comes home (the project's ``.shoreignore``)."""
    stdin: tuple[str, ...] = ()
    """Digests of the blobs that together become standard input; none is empty input."""
    stdout_file: str = ""
    """Where standard output is also saved when the job ended: a path in the project, in which ``%j %A %a
    %x %N %u`` stand for what they do in sbatch; empty: nowhere. It comes home whatever ``results`` says."""
    stderr_file: str = ""
    """The same of standard error; where both are one file, standard output comes first."""
    tags: dict[str, str] = {}
    grace_s: float = 30.0
    """Between SIGTERM and SIGKILL on stop and at the time limit."""
    umask: int = 0o022
    within_s: float | None = None
    """Give up when not started after this many seconds."""
    after: tuple[Dependency, ...] = ()
    """What must have happened before it starts."""
    not_before: datetime | None = None
    """It does not start earlier; aware."""
    array: ArraySpec | None = None
    """Many tasks, each its own process; None is one task."""
    input: Payload | None = None
    """An object of the caller's session for the job: the file that ``SHOREPOWER_INPUT`` names. Not with
    the grid or the rows of an array, whose parameters lie there."""

    @property
    def digests(self) -> tuple[str, ...]:
        """Every blob that it names: the snapshot's root, pieces of inputs, the table of an array."""
        return (
            *((self.tree,) if self.tree is not None else ()),
            *self.stdin,
            *(self.array.rows if self.array is not None else ()),
            *(self.input.blobs if self.input is not None else ()),
        )


class Job(Struct, frozen=True, kw_only=True):
    """How a job stands: the body of ``/v1/jobs/{id}``."""

    v: int = 1
    id: str
    name: str
    owner: str
    cluster: str
    queue: str | None = None
    script: str = ""
    state: State = State.PENDING
    reason: Reason | None = None
    why: str = ""
    """One sentence: why it waits or why it ended."""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    signal: int | None = None
    exit_status: int | None = None
    """What an attached command exits with; set when the job ended."""
    attempt: int = 1
    restart: int = 0
    host: str = ""
    resources: Resources = Resources()
    tags: dict[str, str] = {}
    array: bool = False
    """Its tasks have indices of their own, be it only one."""
    task_count: int = 1
    counts: dict[State, int] = {}
    """How many tasks are in which state."""
    usage: Usage | None = None
    progress: Progress | None = None
    results: ResultsSummary = ResultsSummary()
    project: str = ""
    origin: Origin | None = None
    wanted: Operation | None = None
    """An operation that is recorded but not yet seen to have happened."""
    stale_since: datetime | None = None
    """Since when the cluster has not answered; the state shown is of then."""
    revision: int = 1
    """Grows by one with every change."""


class Submission(Struct, frozen=True, kw_only=True):
    """One handing-over of some tasks of a job to its cluster."""

    id: str
    job: str
    serial: int = 1
    cluster: str
    attempt: int = 1
    tasks: TaskSet = ONE_TASK
    phase: Phase = Phase.DUE
    not_before: datetime | None = None
    handle: str | None = None
    """The cluster's own name for it; opaque above ``clusters/``."""
    workdir: str = ""
    """Where it was staged, absolute; set when it is handed over."""
    tries: int = 0
    why: str = ""


def encode_spec(spec: JobSpec) -> bytes:
    """The stored form of a spec."""
    return msgspec.json.encode(spec)


def decode_spec(data: bytes) -> JobSpec:
    """A spec of any version ever released. Raises msgspec.ValidationError."""
    return json_decoder(JobSpec).decode(data)
