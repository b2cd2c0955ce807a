"""The whole surface that front ends may call. Every method takes the caller and checks what is theirs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import anyio
from anyio import TASK_STATUS_IGNORED, create_task_group, to_thread
from anyio.abc import TaskStatus
from msgspec import Struct
from msgspec.structs import replace

from ..clusters.contract import Cluster
from ..files.blobs import BlobStore
from ..host.contract import Clock, Host, Look
from ..model.caller import Caller, Scope
from ..model.check import faults_of
from ..model.cluster import ClusterInfo
from ..model.errors import Fault, InvalidRequest
from ..model.events import Event
from ..model.job import Job, JobSpec
from ..model.lifecycle import Attempt, Operation, State
from ..model.output import OutputPiece
from ..model.results import ExpiringResults, FileEntry
from ..model.task import Task
from ..store.contract import JobQuery, Snapshot, Store, Token, Transaction
from .access import find, may_change
from .control import Controls
from .expire import Expire, Pruned
from .fetch import Fetch, FileAsked, FilePiece
from .files import Files
from .fold import request
from .footprint import Footprint, footprint_of
from .fresh import Fresh
from .gate import Gate
from .handover import Handover
from .held import Held
from .leftovers import Leftovers
from .live import with_live
from .news import News
from .output import Output
from .patience import Patience
from .places import DispatchSettings, Places
from .stop_tasks import named_tasks, request_tasks
from .submit import Intake
from .task_pages import TaskFilter, TaskPages
from .tokens import Tokens
from .values import ValuePiece, Values
from .watch import Standing, Watch

__all__ = ["Dispatcher", "Footprint", "JobFilter", "OutputSlice", "TaskFilter", "TokenInfo"]


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


_GATHERINGS, _GATHER_S = 5, 0.04
"""News of an array is gathered so often and so long: who waits for its end is not told of each task."""


class Dispatcher:
    """Takes jobs in, remembers them, hands them over, tells the news."""

    def __init__(
        self,
        *,
        store: Store,
        clusters: Mapping[str, Cluster],
        host: Host,
        clock: Clock,
        places: Places,
        settings: DispatchSettings | None = None,
    ) -> None:
        settings = settings or DispatchSettings()
        self._store, self._clusters, self._host, self._clock = store, clusters, host, clock
        self._places, self._settings = places, settings
        self._news = News()
        self._fresh = {name: Fresh() for name in clusters}
        self._leftovers = Leftovers(store, places)
        self._blobs = BlobStore(places.blobs)
        self._standing = Standing(list(clusters))
        gate = Gate()
        self._intake = Intake(store, self._blobs, places, clock, self._fresh, gate)
        self._task_pages = TaskPages(store, clusters, places)
        self._output = Output(store, clusters, self._news)
        self._values = Values(store, self._news)
        self._files = Files(store, clusters, self._blobs, places, settings, clock, self._news, gate)
        self._expire = Expire(store, clusters, self._blobs, places, settings, clock, gate)
        self._fetch = Fetch(store)
        self._tokens = Tokens(store, clock)
        self._patience = Patience(store, self._leftovers, settings, clock, self._news)
        self._held = Held(store, self._leftovers, settings, clock, self._news)
        self._watches = {
            name: Watch(cluster, store, self._standing, places, settings, clock, self._news)
            for name, cluster in clusters.items()
        }
        self._busy_at = clock.steady()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep everything going until cancelled; ready once clusters are adopted and watched."""
        await to_thread.run_sync(self._blobs.prepare)
        await self._leftovers.sweep_secrets()
        stop_hearing = self._store.subscribe(self._news.hear)
        stop_holding = self._store.subscribe(self._held.hear)
        try:
            async with create_task_group() as tg:
                for name, cluster in self._clusters.items():
                    await tg.start(partial(_run_cluster, cluster), name=f"cluster {name}")
                    await self._watches[name].inform()
                for name, cluster in self._clusters.items():
                    await self._start_loops(tg, name, cluster)
                await tg.start(partial(_start, self._files.run), name="collect")
                await tg.start(partial(_start, self._patience.run), name="give up")
                await tg.start(partial(_start, self._held.run), name="release")
                tg.start_soon(self._expire.run, name="expire")
                tg.start_soon(self._leftovers.sweep_work, name="sweep")
                task_status.started()
        finally:
            stop_hearing()
            stop_holding()

    async def _start_loops(self, tg: anyio.abc.TaskGroup, name: str, cluster: Cluster) -> None:
        store, places, settings = self._store, self._places, self._settings
        handover = Handover(
            cluster, store, self._blobs, places, settings, self._clock, self._news, self._fresh[name]
        )
        controls = Controls(cluster, store, places, settings, self._clock, self._news)
        await tg.start(partial(_start, handover.run), name=f"hand over to {name}")
        await tg.start(partial(_start, self._watches[name].run), name=f"watch {name}")
        await tg.start(partial(_start, controls.run), name=f"control {name}")
        tg.start_soon(self._watches[name].keep_informed, name=f"inform of {name}")

    async def authenticate(self, secret: str) -> Caller:
        """The caller of a token. Raises NotAuthenticated."""
        return await self._tokens.authenticate(secret)

    async def submit(
        self, spec: JobSpec, caller: Caller, *, key: str | None = None, secrets: Mapping[str, str] = {}
    ) -> tuple[Job, bool]:
        """Record a job; (job, whether it is new). On disk before this returns.

        Raises InvalidRequest with every fault, Conflict for a key used with another body.
        """
        self._busy_at = self._clock.steady()
        job, new = await self._intake.submit(spec, caller, self._standing.infos, key=key, secrets=secrets)
        self._expire.uploads.over(caller.user)
        if new:
            self._patience.add(job, spec)
            self._held.add(job, spec)
        return job, new

    async def job(
        self, name: str, caller: Caller, *, revision: int | None = None, wait_s: float = 0.0
    ) -> Job:
        """A job by id, unique prefix, ``@name`` or ``@-1``. With ``revision``: waits up to ``wait_s``
        for a later one; returns the job as it is when nothing changed."""
        job = await self._store.read(lambda view: find(view, name, caller))
        if revision is not None and job.revision <= revision and wait_s > 0:
            job = await self._changed(job.id, caller, revision, wait_s)
        return self._told(job)

    async def _changed(self, job_id: str, caller: Caller, revision: int, wait_s: float) -> Job:
        with self._news.listen(job_id) as news:
            job = await self._store.read(lambda view: find(view, job_id, caller))
            with anyio.move_on_after(wait_s):
                while job.revision <= revision:
                    await news.wait(wait_s)
                    job = await self._store.read(lambda view: find(view, job_id, caller))
                for _ in range(_GATHERINGS if job.array else 0):
                    if job.state.ended:
                        break
                    await anyio.sleep(_GATHER_S)  # the next task changes its counts in a moment
                    job = await self._store.read(lambda view: find(view, job_id, caller))
        return job

    def _told(self, job: Job) -> Job:
        """A job as callers see it: with what is live, and since when its cluster is silent."""
        if job.state.ended:
            return job
        info = self._standing.infos.get(job.cluster)
        if info is not None and info.stale_since is not None:
            job = replace(job, stale_since=info.stale_since)
        cluster = self._clusters.get(job.cluster)
        if cluster is not None and job.started_at is not None:
            job = with_live(job, cluster.live())
        return job

    async def spec(self, name: str, caller: Caller) -> JobSpec:
        """What was submitted."""

        def both(view: Snapshot) -> JobSpec:
            spec = view.spec(find(view, name, caller).id)
            assert spec is not None  # a job and its spec are written together
            return spec

        return await self._store.read(both)

    async def attempts(self, name: str, caller: Caller) -> list[Attempt]:
        """Every attempt so far."""
        return await self._store.read(lambda view: view.attempts(find(view, name, caller).id))

    async def jobs(self, wanted: JobFilter, caller: Caller) -> tuple[list[Job], str | None]:
        """Newest first, and the cursor of the next page."""
        query = _query(wanted, caller, self._clock.now())
        rows = await self._store.read(lambda view: view.jobs(query))
        more = len(rows) == query.limit
        return [self._told(job) for _, job in rows], str(rows[-1][0]) if more else None

    async def tasks(self, name: str, wanted: TaskFilter, caller: Caller) -> tuple[list[Task], str | None]:
        """Some tasks of a job and the cursor of the next page; a plain job has one, with index 0."""
        return await self._task_pages.page(name, wanted, caller)

    async def control(
        self, name: str, operation: Operation, caller: Caller, *, tasks: str | None = None
    ) -> Job:
        """Record an operation; it is carried out and retried until seen. Raises Conflict if ended.

        ``tasks``: only of these (``3-5,9``) of an array, to stop or kill them.
        """
        may_change(caller)
        now = self._clock.now()

        def ask(tx: Transaction) -> Job:
            job = find(tx, name, caller)
            if tasks is None:
                return request(tx, job, operation, caller.user, now)
            spec = tx.spec(job.id)
            assert spec is not None  # a job and its spec are written together
            named = named_tasks(job, spec, tasks)
            return request_tasks(tx, job, named, operation, caller.user, now, said=tasks)

        job = await self._store.write(ask)
        self._news.tell(f"control:{job.cluster}")
        await self._leftovers.drop_secrets([job])
        return job

    async def output(
        self,
        name: str,
        caller: Caller,
        *,
        cursor: str | None = None,
        task: int | None = None,
        wait_s: float = 0.0,
        limit_bytes: int = 1 << 20,
        from_end_bytes: int | None = None,
    ) -> OutputSlice:
        """Read on from a cursor; waits up to ``wait_s`` while there is nothing new.

        An array is read task by task, or only the task of an index; pieces tell the index.
        """
        found = await self._output.read(
            name,
            caller,
            cursor,
            task=task,
            wait_s=wait_s,
            limit_bytes=limit_bytes,
            from_end_bytes=from_end_bytes,
        )
        return OutputSlice(pieces=tuple(found.pieces), cursor=found.cursor.encode(), ended=found.ended)

    def follow(
        self, name: str, caller: Caller, *, cursor: str | None = None, task: int | None = None
    ) -> AsyncIterator[OutputPiece | None]:
        """Output until the end of the job, or of one task (a last piece of kind ``end``); None is a sign
        of life."""
        return self._output.follow(name, caller, cursor, task)

    def read_values(
        self, name: str, caller: Caller, offsets: Mapping[int, int], *, wait_s: float = 0.0
    ) -> AsyncGenerator[ValuePiece, None]:
        """What the tasks of a job gave back, beyond the offset of each index (0 for one that is not
        named); waits up to ``wait_s`` while there is nothing new. The last piece is ``more`` or ``end``."""
        return self._values.read(name, caller, offsets, wait_s=wait_s)

    async def events(
        self, caller: Caller, *, after: int | None = None, job: str | None = None, wait_s: float = 0.0
    ) -> tuple[list[Event], int]:
        """Events after a sequence number (None: from now on), and the number to go on from."""
        job_id = None
        if job is not None:
            job_id = (await self._store.read(lambda view: find(view, job, caller))).id
        since = await self._store.read(lambda view: view.last_event()) if after is None else after
        if not 0 <= since < 10**_DIGITS:
            raise InvalidRequest([Fault("after", f"{since} is no number of an event")])
        read = partial(_events, after=since, owner=caller.user, job=job_id)
        with self._news.listen(job_id or f"owner:{caller.user}") as news:
            found = await self._store.read(read)
            with anyio.move_on_after(wait_s):
                while not found:
                    await news.wait(wait_s)
                    found = await self._store.read(read)
        return found, found[-1].seq if found else since

    async def clusters(self, caller: Caller) -> list[ClusterInfo]:
        """Last known information."""
        return list(self._standing.infos.values())

    async def look(self, paths: Sequence[str], caller: Caller) -> dict[str, Look]:
        """Look at paths as the caller; paths that did not answer in 2 s are left out."""
        wrong = faults_of("paths", paths, _is_absolute, "is no absolute path")
        if len(paths) > 1000:
            wrong.append(Fault("paths", "look at no more than 1000 paths at a time"))
        if wrong:
            raise InvalidRequest(wrong)
        return dict(await self._host.look(paths, self._settings.look_timeout_s))

    # blobs and files

    async def missing_blobs(self, digests: Sequence[str], caller: Caller) -> list[str]:
        """Which of these the caller must still send; those present are leased for an hour."""
        self._expire.uploads.heard(caller.user)
        return await self._files.missing(digests, caller)

    async def put_blobs(self, blobs: Sequence[tuple[str, bytes]], caller: Caller) -> None:
        """Keep blobs (each at most 16 MiB), verified and on disk before this returns."""
        self._expire.uploads.heard(caller.user)
        await self._files.put(blobs, caller)
        self._expire.uploads.heard(caller.user)

    async def get_blob(self, digest: str, caller: Caller) -> bytes:
        """A blob that the caller has sent."""
        return await self._files.get(digest, caller)

    async def files(self, name: str, caller: Caller) -> tuple[FileEntry, ...]:
        """What came out so far: new and changed files."""
        return await self._files.listing(name, caller)

    def read_file(
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
        return self._files.read_file(name, path, area, caller, offset=offset, length=length)

    def read_files(
        self, name: str, asked: Sequence[FileAsked], caller: Caller
    ) -> AsyncGenerator[list[FilePiece], None]:
        """The content of listed files, in order, many small ones together; a batch holds about 1 MiB."""
        return self._fetch.read(name, asked, caller)

    async def mark_pulled(self, name: str, caller: Caller) -> None:
        """The client has everything that was listed."""
        await self._files.mark_pulled(name, caller)

    async def keep(self, name: str, until: datetime | None, caller: Caller) -> Job:
        """Move the moment when results expire; None keeps them for good."""
        return await self._expire.keep(name, until, caller)

    async def expiring(self, caller: Caller) -> ExpiringResults:
        """Results of the caller's that nobody fetched and that go soon."""
        return await self._expire.warn.expiring(caller)

    async def warned(self, as_of: datetime, caller: Caller) -> None:
        """A command has shown what `expiring` told at that moment: now it may go, in three days."""
        await self._expire.warn.shown(as_of, caller)

    async def prune(
        self,
        caller: Caller,
        *,
        results: bool = False,
        unfetched: bool = False,
        ended_before: datetime | None = None,
    ) -> Pruned:
        """Remove what is expired and what nothing needs; results that were fetched, or were not, when
        asked for."""
        return await self._expire.prune(
            caller, results=results, unfetched=unfetched, ended_before=ended_before
        )

    async def footprint(self, caller: Caller) -> Footprint:
        """What is kept."""
        budget_bytes = await self._expire.budget_bytes()
        return await footprint_of(self._store, self._places, caller, budget_bytes)

    # tokens

    async def create_token(
        self, caller: Caller, name: str, scope: Scope, expires_at: datetime | None
    ) -> tuple[str, TokenInfo]:
        """(secret, token); the secret is shown this once."""
        secret, token = await self._tokens.create(caller, name, scope, expires_at)
        return secret, _without_secret(token)

    async def tokens(self, caller: Caller) -> list[TokenInfo]:
        """The caller's own."""
        return [_without_secret(token) for token in await self._tokens.listed(caller)]

    async def revoke_token(self, token: str, caller: Caller) -> None:
        """By id, at once."""
        await self._tokens.revoke(token, caller)

    # the server's own life

    async def counts(self) -> dict[State, int]:
        """How many jobs are in which state."""
        return await self._store.read(lambda view: view.state_counts())

    async def idle_for_s(self) -> float:
        """Seconds since when no job was alive and nobody read; 0 while something goes on."""
        counts = await self.counts()
        alive = sum(number for state, number in counts.items() if not state.ended)
        now = self._clock.steady()
        if alive or self._output.followers or await self._store.read(lambda view: view.saving(1)):
            self._busy_at = now
        return now - self._busy_at


async def _run_cluster(cluster: Cluster, *, task_status: TaskStatus[None]) -> None:
    await cluster.run(task_status=task_status)


async def _start(run: object, *, task_status: TaskStatus[None]) -> None:
    await run(task_status=task_status)  # type: ignore[operator]


def _is_absolute(path: str) -> bool:
    return path.startswith("/") and "\0" not in path


def _events(view: Snapshot, *, after: int, owner: str, job: str | None) -> list[Event]:
    return view.events(after, owner=owner, job=job)


_DIGITS = 18
"""No number that was ever handed out is longer; a longer one may not fit the store."""


def _query(wanted: JobFilter, caller: Caller, now: datetime) -> JobQuery:
    before = None
    if wanted.cursor is not None:
        if not wanted.cursor.isdecimal() or len(wanted.cursor) > _DIGITS:
            raise InvalidRequest([Fault("cursor", "that is no cursor of ours")])
        before = int(wanted.cursor)
    if not 1 <= wanted.limit <= 1000:
        raise InvalidRequest([Fault("limit", "a page holds 1 to 1000 jobs")])
    return JobQuery(
        owner=caller.user,
        states=wanted.states,
        cluster=wanted.cluster,
        name=wanted.name,
        tags=wanted.tags,
        created_after=wanted.since,
        active_or_after=now - timedelta(days=1) if wanted.recent else None,
        before=before,
        limit=wanted.limit,
    )


def _without_secret(token: Token) -> TokenInfo:
    return TokenInfo(
        id=token.id,
        name=token.name,
        user=token.user,
        scope=token.scope,
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        used_at=token.used_at,
    )
