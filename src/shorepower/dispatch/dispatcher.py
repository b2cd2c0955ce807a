"""The whole surface that front ends may call. Every method takes the caller and checks what is theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from anyio.abc import TaskStatus
from msgspec import Struct

from ..host.contract import Look
from ..model.caller import Caller, Scope
from ..model.cluster import ClusterInfo
from ..model.events import Event
from ..model.job import Job, JobSpec
from ..model.lifecycle import Attempt, Operation, State
from ..model.output import OutputPiece
from ..model.results import FileEntry

__all__ = ["Dispatcher", "Footprint", "JobFilter", "OutputSlice", "TokenInfo"]


class JobFilter(Struct, frozen=True, kw_only=True):
    """Which jobs to list; only the caller's own."""

    states: tuple[State, ...] = ()
    cluster: str | None = None
    name: str | None = None
    tags: dict[str, str] = {}
    since: datetime | None = None
    recent: bool = False
    """Living jobs, and those that ended within the last day."""
    cursor: str | None = None
    limit: int = 50


class OutputSlice(Struct, frozen=True, kw_only=True):
    """Some pieces of output and where to go on."""

    pieces: tuple[OutputPiece, ...]
    cursor: str
    ended: bool
    """The job ended and nothing is left to read."""


class TokenInfo(Struct, frozen=True, kw_only=True):
    """A token without its secret."""

    id: str
    name: str
    user: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None


class Footprint(Struct, frozen=True, kw_only=True):
    """What the server keeps on disk for a caller."""

    blobs_bytes: int
    results_bytes: int
    output_bytes: int
    free_bytes: int
    budget_bytes: int
    job_count: int


class Dispatcher:
    """Takes jobs in, remembers them, hands them over, tells the news."""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Keep everything going until cancelled; ready once clusters are adopted and watched."""
        raise NotImplementedError

    async def authenticate(self, secret: str) -> Caller:
        """The caller of a token. Raises NotAuthenticated."""
        raise NotImplementedError

    async def submit(
        self, spec: JobSpec, caller: Caller, *, key: str | None = None, secrets: Mapping[str, str] = {}
    ) -> tuple[Job, bool]:
        """Record a job; (job, whether it is new). On disk before this returns.

        Raises InvalidRequest with every fault, Conflict for a key used with another body.
        """
        raise NotImplementedError

    async def job(
        self, name: str, caller: Caller, *, revision: int | None = None, wait_s: float = 0.0
    ) -> Job:
        """A job by id, unique prefix, ``@name`` or ``@-1``. With ``revision``: waits up to ``wait_s``
        for a later one; returns the job as it is when nothing changed."""
        raise NotImplementedError

    async def spec(self, name: str, caller: Caller) -> JobSpec:
        """What was submitted."""
        raise NotImplementedError

    async def attempts(self, name: str, caller: Caller) -> list[Attempt]:
        """Every attempt so far."""
        raise NotImplementedError

    async def jobs(self, wanted: JobFilter, caller: Caller) -> tuple[list[Job], str | None]:
        """Newest first, and the cursor of the next page."""
        raise NotImplementedError

    async def control(self, name: str, operation: Operation, caller: Caller) -> Job:
        """Record an operation; it is carried out and retried until seen. Raises Conflict if ended."""
        raise NotImplementedError

    async def output(
        self,
        name: str,
        caller: Caller,
        *,
        cursor: str | None = None,
        wait_s: float = 0.0,
        limit_bytes: int = 1 << 20,
        from_end_bytes: int | None = None,
    ) -> OutputSlice:
        """Read on from a cursor; waits up to ``wait_s`` while there is nothing new."""
        raise NotImplementedError

    def follow(
        self, name: str, caller: Caller, *, cursor: str | None = None
    ) -> AsyncIterator[OutputPiece | None]:
        """Output until the job's end (a last piece of kind ``end``); None is a sign of life."""
        raise NotImplementedError

    async def events(
        self, caller: Caller, *, after: int | None = None, job: str | None = None, wait_s: float = 0.0
    ) -> tuple[list[Event], int]:
        """Events after a sequence number (None: from now on), and the number to go on from."""
        raise NotImplementedError

    async def clusters(self, caller: Caller) -> list[ClusterInfo]:
        """Last known information."""
        raise NotImplementedError

    async def look(self, paths: Sequence[str], caller: Caller) -> dict[str, Look]:
        """Look at paths as the caller; paths that did not answer in 2 s are left out."""
        raise NotImplementedError

    # blobs and files

    async def missing_blobs(self, digests: Sequence[str], caller: Caller) -> list[str]:
        """Which of these the caller must still send; those present are leased for an hour."""
        raise NotImplementedError

    async def put_blobs(self, blobs: Sequence[tuple[str, bytes]], caller: Caller) -> None:
        """Keep blobs (each at most 16 MiB), verified and on disk before this returns."""
        raise NotImplementedError

    async def get_blob(self, digest: str, caller: Caller) -> bytes:
        """A blob that the caller has sent."""
        raise NotImplementedError

    async def files(self, name: str, caller: Caller) -> tuple[FileEntry, ...]:
        """What came out so far: new and changed files."""
        raise NotImplementedError

    async def read_file(
        self,
        name: str,
        path: bytes,
        area: str,
        caller: Caller,
        *,
        offset: int = 0,
        length: int | None = None,
    ) -> AsyncIterator[bytes]:
        """The content of one listed file, in pieces of at most 1 MiB."""
        raise NotImplementedError

    async def mark_pulled(self, name: str, caller: Caller) -> None:
        """The client has everything that was listed."""
        raise NotImplementedError

    async def keep(self, name: str, until: datetime | None, caller: Caller) -> Job:
        """Move the moment when results expire; None keeps them for good."""
        raise NotImplementedError

    async def prune(
        self, caller: Caller, *, results: bool = False, ended_before: datetime | None = None
    ) -> int:
        """Remove what is expired or asked for now; bytes freed."""
        raise NotImplementedError

    async def footprint(self, caller: Caller) -> Footprint:
        """What is kept."""
        raise NotImplementedError

    # tokens

    async def create_token(
        self, caller: Caller, name: str, scope: Scope, expires_at: datetime | None
    ) -> tuple[str, TokenInfo]:
        """(secret, token); the secret is shown this once."""
        raise NotImplementedError

    async def tokens(self, caller: Caller) -> list[TokenInfo]:
        """The caller's own."""
        raise NotImplementedError

    async def revoke_token(self, token: str, caller: Caller) -> None:
        """By id, at once."""
        raise NotImplementedError

    # the server's own life

    @property
    def idle_since(self) -> float | None:
        """Steady seconds since when nothing is going on and nobody reads; None while busy."""
        raise NotImplementedError

    async def counts(self) -> dict[State, int]:
        """How many jobs are in which state."""
        raise NotImplementedError
