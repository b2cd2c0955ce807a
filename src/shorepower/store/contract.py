"""The memory of the server: what the dispatcher may ask of any store.

A store runs *units of work*: plain functions over a `Snapshot` (reads) or a `Transaction`
(reads and writes). Units of several callers share one commit; when ``write`` returns, the unit
is on disk (fsync). Rules live in the units, in ``dispatch``; a store only remembers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec import Struct

from ..model.caller import Scope
from ..model.events import Event
from ..model.job import Job, JobSpec, Submission
from ..model.lifecycle import Attempt, Operation, Phase, State
from .tasks import TaskControl, TaskReads, TaskWrites

__all__ = [
    "BlobOwner",
    "Control",
    "JobQuery",
    "Snapshot",
    "Store",
    "TaskControl",
    "Token",
    "Transaction",
    "Unused",
]

T = TypeVar("T")


class JobQuery(Struct, frozen=True, kw_only=True):
    """Which jobs to list, newest first."""

    owner: str | None = None
    states: tuple[State, ...] = ()
    cluster: str | None = None
    name: str | None = None
    tags: dict[str, str] = {}
    created_after: datetime | None = None
    active_or_after: datetime | None = None
    """Living jobs of any age, and ended ones that ended after this moment."""
    before: int | None = None
    """Only jobs whose sequence number is below this (keyset paging)."""
    limit: int = 50


class Control(Struct, frozen=True, kw_only=True):
    """An operation somebody asked for, until it is seen to have happened."""

    job: str
    operation: Operation
    requested_at: datetime
    requested_by: str
    serial: int
    """Grows with every request; a later one for the same job replaces an earlier one."""


class Token(Struct, frozen=True, kw_only=True):
    """A credential, without the secret: only its SHA-256 is kept."""

    id: str
    hash: bytes
    user: str
    scope: Scope
    name: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None


class BlobOwner(Struct, frozen=True, kw_only=True):
    """That a user has sent a blob, and may therefore refer to it."""

    owner: str
    digest: str
    size_bytes: int
    used_at: datetime


class Unused(Struct, frozen=True, kw_only=True):
    """Whose use of blobs counts otherwise than that of others."""

    owner: str
    since: datetime
    """Not used by this owner since then."""
    leased_until: datetime
    """A lease of this owner holds only when it ends later."""


class Snapshot(TaskReads):
    """Reads; all of one unit see the same state."""

    @abstractmethod
    def job(self, job: str) -> Job | None: ...

    @abstractmethod
    def spec(self, job: str) -> JobSpec | None: ...

    @abstractmethod
    def jobs(self, query: JobQuery) -> list[tuple[int, Job]]:
        """(sequence number, job), newest first."""

    @abstractmethod
    def job_ids(self, owner: str | None, prefix: str, limit: int = 10) -> list[str]:
        """Ids that begin with ``prefix``."""

    @abstractmethod
    def keyed(self, owner: str, key: str) -> tuple[str, bytes] | None:
        """The job and the body digest recorded under an idempotency key."""

    @abstractmethod
    def submission(self, submission: str) -> Submission | None: ...

    @abstractmethod
    def submissions(self, job: str) -> list[Submission]:
        """All of one job, by serial."""

    @abstractmethod
    def submissions_in(
        self, cluster: str | None, phases: Sequence[Phase], limit: int | None = None
    ) -> list[Submission]:
        """Oldest first."""

    @abstractmethod
    def attempt(self, job: str, task: int, number: int) -> Attempt | None: ...

    @abstractmethod
    def attempts(self, job: str, task: int | None = None) -> list[Attempt]:
        """By task and number."""

    @abstractmethod
    def controls(self, cluster: str | None = None) -> list[Control]:
        """Those not yet seen to have happened."""

    @abstractmethod
    def control(self, job: str) -> Control | None:
        """The one of a job, not yet seen to have happened."""

    @abstractmethod
    def events(
        self, after: int, *, owner: str | None = None, job: str | None = None, limit: int = 500
    ) -> list[Event]:
        """In order of ``seq``, which is greater than ``after``."""

    @abstractmethod
    def last_event(self) -> int:
        """The newest ``seq``; 0 when there is none."""

    @abstractmethod
    def state_counts(self, owner: str | None = None) -> dict[State, int]:
        """How many jobs are in which state; kept by the writer, never counted."""

    @abstractmethod
    def blobs_owned(self, owner: str, digests: Iterable[str]) -> set[str]:
        """Which of these this user has sent."""

    @abstractmethod
    def blobs_unused_since(
        self,
        moment: datetime,
        limit: int = 1000,
        *,
        by: Unused | None = None,
        among: Iterable[str] | None = None,
    ) -> list[str]:
        """Digests that nobody used since then and no lease or living job holds; oldest first.

        With ``by`` only blobs that this user has sent, whose own use of them counts from another moment.
        ``among``: only these.
        """

    @abstractmethod
    def blob_bytes(self) -> int:
        """Total size of all blobs known."""

    @abstractmethod
    def token(self, hash: bytes) -> Token | None: ...

    @abstractmethod
    def tokens(self, user: str | None = None) -> list[Token]: ...

    @abstractmethod
    def results_listing(self, job: str) -> bytes | None:
        """The encoded listing saved when results were collected."""

    @abstractmethod
    def saving(self, limit: int = 100) -> list[str]:
        """Jobs whose results are being collected (``saving``), oldest first."""

    @abstractmethod
    def trees(self) -> set[str]:
        """Root digests (and stdin blobs) of living jobs and of those whose results are not expired."""

    @abstractmethod
    def ended_before(
        self, moment: datetime, *, after: datetime | None = None, limit: int = 100
    ) -> list[tuple[datetime, str]]:
        """(end, id) of jobs that ended before this moment and later than ``after``, oldest first."""

    @abstractmethod
    def with_results(self, owner: str | None = None) -> list[Job]:
        """Jobs whose results lie here (``ready`` or ``partial``); by a partial index, not by history."""

    @abstractmethod
    def expiring(
        self,
        moment: datetime,
        limit: int = 100,
        *,
        notice: timedelta = timedelta(0),
        unwarned: datetime | None = None,
    ) -> list[Job]:
        """Ended jobs whose results expire before this moment and are not expired yet.

        With ``unwarned``: results that nobody fetched, and of which nobody was warned within ``notice``
        of their end or later, only when they expire before that moment.
        """

    @abstractmethod
    def unfetched(self, owner: str, moment: datetime) -> list[Job]:
        """Jobs whose results lie here, expire before this moment and were never fetched; the first to
        go come first."""

    @abstractmethod
    def audit(self, after: int = 0, limit: int = 500) -> list[dict[str, str]]:
        """Audit lines in order."""


class Transaction(Snapshot, TaskWrites):
    """Reads and writes; all or nothing."""

    @abstractmethod
    def insert_job(
        self, job: Job, spec: JobSpec, *, key: str | None = None, body_digest: bytes = b""
    ) -> None: ...

    @abstractmethod
    def update_job(self, job: Job) -> Job:
        """Write all mutable columns; returns the job with its revision raised by one."""

    @abstractmethod
    def delete_job(self, job: str) -> None:
        """The record and all that hangs on it."""

    @abstractmethod
    def put_submission(self, submission: Submission) -> None:
        """Insert or replace."""

    @abstractmethod
    def put_attempt(self, attempt: Attempt) -> None:
        """Insert or replace."""

    @abstractmethod
    def put_control(self, job: str, operation: Operation, by: str, at: datetime) -> Control: ...

    @abstractmethod
    def drop_control(self, job: str, serial: int | None = None) -> None:
        """It has happened, or the job ended. With ``serial``: only if no later one replaced it."""

    @abstractmethod
    def append_event(self, at: datetime, type: str, job: Job, body: dict[str, object]) -> Event:
        """Add to the journal; subscribers of the store hear of it after the commit."""

    @abstractmethod
    def put_blob(self, owned: BlobOwner) -> None:
        """Record or refresh that an owner has sent a blob."""

    @abstractmethod
    def lease_blobs(self, owner: str, digests: Iterable[str], until: datetime) -> None:
        """Keep these from being pruned until then."""

    @abstractmethod
    def forget_blobs(self, digests: Iterable[str]) -> None: ...

    @abstractmethod
    def put_token(self, token: Token) -> None:
        """Insert or replace."""

    @abstractmethod
    def put_results_listing(self, job: str, listing: bytes | None) -> None: ...

    @abstractmethod
    def append_audit(self, at: datetime, who: str, what: str, subject: str) -> None: ...


class Store(ABC):
    """A store in use. Made by an opener of its driver, ended by `aclose`."""

    @abstractmethod
    async def write(self, unit: Callable[[Transaction], T]) -> T:
        """Run a unit on the writer and return its value once it is durable.

        An exception from the unit undoes that unit alone and is raised here.
        Raises StorageFault when the disk refuses, Busy when the writer's queue is full.
        """

    @abstractmethod
    async def read(self, unit: Callable[[Snapshot], T]) -> T:
        """Run a unit on a reader."""

    @abstractmethod
    def subscribe(self, hear: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """``hear`` is called on the event loop after each commit that appended events; returns
        the function that ends the subscription."""

    @abstractmethod
    async def backup(self, target: str) -> None:
        """A consistent copy of the whole store, while in use."""

    @abstractmethod
    async def aclose(self) -> None:
        """Finish what is queued, then close. Twice is harmless."""
