"""A dispatcher in a few lines of memory, so that the HTTP front end is tested over real sockets alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
from msgspec.structs import replace

from shorepower.dispatch.dispatcher import (
    Dispatcher,
    Footprint,
    JobFilter,
    OutputSlice,
    TaskFilter,
    TokenInfo,
)
from shorepower.dispatch.expire import Pruned
from shorepower.dispatch.fetch import FileAsked, FilePiece
from shorepower.dispatch.values import ValuePiece
from shorepower.host.contract import Look
from shorepower.model.caller import Caller, Scope
from shorepower.model.cluster import ClusterInfo
from shorepower.model.errors import Ambiguous, Conflict, InvalidRequest, NotAuthenticated, NotFound
from shorepower.model.events import Event
from shorepower.model.job import Job, JobSpec, job_id_from
from shorepower.model.lifecycle import Attempt, Operation, State
from shorepower.model.output import Cursor, OutputPiece, Stream
from shorepower.model.results import ExpiringResults, FileEntry, ResultsState, ResultsSummary
from shorepower.model.task import Task
from shorepower.model.tree import digest_of

__all__ = ["StandIn"]

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PIECE = 1 << 20


class StandIn(Dispatcher):
    """Keeps what it is given; a test moves jobs on with `change`, `write` and `end`."""

    def __init__(self) -> None:
        self.known: dict[str, Job] = {}
        self.specs: dict[str, JobSpec] = {}
        self.keys: dict[tuple[str, str], tuple[str, JobSpec]] = {}
        self.secrets: dict[str, Mapping[str, str]] = {}
        self.told: list[Event] = []
        self.printed: dict[str, bytearray] = {}
        self.gaps: dict[str, int] = {}
        self.blobs: dict[str, bytes] = {}
        self.results: dict[str, dict[bytes, bytes]] = {}
        self.values: dict[str, dict[int, bytes]] = {}
        self.credentials: dict[str, TokenInfo] = {}
        self.pulled: list[str] = []
        self.shown: list[datetime] = []
        self.wanted_tasks: TaskFilter | None = None
        self.ended_tasks: list[str | None] = []
        self.calls: list[str] = []
        self.followers = 0
        self.waiters = 0
        self.fault: Exception | None = None
        self.block: anyio.Event | None = None
        self.idle_s = 0.0
        self._news = anyio.Event()
        self._numbers = itertools.count(1)

    # what a test does

    def add(self, owner: str, name: str = "job", **more: Any) -> Job:
        spec = more.pop("spec", None) or JobSpec(name=name, argv=("true",))
        job = Job(
            id=job_id_from(os.urandom(12)),
            name=spec.name,
            owner=owner,
            cluster=spec.cluster,
            created_at=NOW,
            tags=spec.tags,
            **more,
        )
        self.known[job.id], self.specs[job.id], self.printed[job.id] = job, spec, bytearray()
        self.tell("job.submitted", job)
        return job

    def change(self, job_id: str, **fields: Any) -> Job:
        job = replace(self.known[job_id], revision=self.known[job_id].revision + 1, **fields)
        self.known[job_id] = job
        self.tell("job.state", job)
        return job

    def end(self, job_id: str) -> None:
        self.change(job_id, state=State.COMPLETED)

    def write(self, job_id: str, data: bytes) -> None:
        self.printed[job_id] += data
        self._wake()

    def tell(self, type_: str, job: Job) -> None:
        number = next(self._numbers)
        self.told.append(
            Event(seq=number, at=NOW, type=type_, job=job.id, owner=job.owner, body={"state": job.state})
        )
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _until(self, found: Callable[[], Any], wait_s: float) -> Any:
        with anyio.move_on_after(wait_s):
            while not found():
                self.waiters += 1
                try:
                    await self._news.wait()
                finally:
                    self.waiters -= 1
        return found()

    def _check(self, name: str) -> None:
        self.calls.append(name)
        if self.fault is not None:
            raise self.fault

    # the surface

    async def run(self, *, task_status: Any = None) -> None:
        task_status.started()
        await anyio.sleep_forever()

    async def authenticate(self, secret: str) -> Caller:
        token = self.credentials.get(secret)
        if token is None:
            raise NotAuthenticated("this token is unknown or was revoked")
        return Caller(user=token.user, scope=token.scope, via=f"token:{token.id}")

    async def submit(
        self, spec: JobSpec, caller: Caller, *, key: str | None = None, secrets: Mapping[str, str] = {}
    ) -> tuple[Job, bool]:
        self._check("submit")
        if key is not None and (caller.user, key) in self.keys:
            job_id, before = self.keys[caller.user, key]
            if before != spec:
                raise Conflict("this key was used with another body")
            return self.known[job_id], False
        job = self.add(caller.user, spec=spec)
        self.secrets[job.id] = dict(secrets)
        if key is not None:
            self.keys[caller.user, key] = job.id, spec
        return job, True

    def _find(self, name: str, caller: Caller) -> Job:
        mine = [job for job in self.known.values() if job.owner == caller.user]
        if name == "@-1" and mine:
            return mine[-1]
        fits = [job for job in mine if job.name == name[1:] or (name[0] != "@" and job.id.startswith(name))]
        if len(fits) > 1:
            raise Ambiguous(name, [job.id for job in fits])
        if not fits:
            raise NotFound(f"no job {name}")
        return fits[0]

    async def job(
        self, name: str, caller: Caller, *, revision: int | None = None, wait_s: float = 0.0
    ) -> Job:
        self._check("job")
        job_id = self._find(name, caller).id
        if revision is not None:
            await self._until(lambda: self.known[job_id].revision > revision, wait_s)
        return self.known[job_id]

    async def spec(self, name: str, caller: Caller) -> JobSpec:
        return self.specs[self._find(name, caller).id]

    async def attempts(self, name: str, caller: Caller) -> list[Attempt]:
        job = self._find(name, caller)
        return [Attempt(job=job.id, submission=f"{job.id}-1", state=job.state)]

    async def jobs(self, wanted: JobFilter, caller: Caller) -> tuple[list[Job], str | None]:
        self._check("jobs")
        self.wanted = wanted
        mine = [job for job in self.known.values() if job.owner == caller.user]
        return mine[: wanted.limit], "7" if len(mine) > wanted.limit else None

    async def tasks(self, name: str, wanted: TaskFilter, caller: Caller) -> tuple[list[Task], str | None]:
        self._find(name, caller)
        self.wanted_tasks = wanted
        return [Task(index=7, state=State.FAILED, parameters={"lr": "0.1"})], "further"

    async def control(
        self, name: str, operation: Operation, caller: Caller, *, tasks: str | None = None
    ) -> Job:
        self._check("control")
        job = self._find(name, caller)
        self.ended_tasks.append(tasks)
        if job.state.ended:
            raise Conflict(f"job {job.id} has ended")
        return self.change(job.id, wanted=operation)

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
        self._check("output")
        job_id = self._find(name, caller).id
        at = self._at(cursor)
        if from_end_bytes is not None and cursor is None:
            at = max(0, len(self.printed[job_id]) - from_end_bytes)
        await self._until(lambda: len(self.printed[job_id]) > at or self.known[job_id].state.ended, wait_s)
        pieces = self._pieces(job_id, at, limit_bytes)
        there = pieces[-1].cursor if pieces else Cursor(stdout=at).encode()
        return OutputSlice(
            pieces=tuple(pieces), cursor=there, ended=not pieces and self.known[job_id].state.ended
        )

    def _at(self, cursor: str | None) -> int:
        try:
            return Cursor.decode(cursor).stdout if cursor else 0
        except ValueError as error:
            raise InvalidRequest(str(error)) from None

    def _pieces(self, job_id: str, at: int, limit_bytes: int) -> list[OutputPiece]:
        found = []
        gap = self.gaps.get(job_id, 0)
        if at < gap:
            cursor = Cursor(stdout=gap).encode()
            found.append(OutputPiece(kind="gap", offset=at, missing_bytes=gap - at, cursor=cursor))
            at = gap
        if data := bytes(self.printed[job_id][at : at + limit_bytes]):
            cursor = Cursor(stdout=at + len(data)).encode()
            found.append(
                OutputPiece(kind="output", stream=Stream.STDOUT, offset=at, data=data, cursor=cursor)
            )
        return found

    async def follow(
        self, name: str, caller: Caller, *, cursor: str | None = None, task: int | None = None
    ) -> AsyncIterator[OutputPiece | None]:
        job_id = self._find(name, caller).id
        at = self._at(cursor)
        self.followers += 1
        try:
            while True:
                for piece in self._pieces(job_id, at, PIECE):
                    at = Cursor.decode(piece.cursor).stdout
                    yield piece
                if len(self.printed[job_id]) <= at:
                    if self.known[job_id].state.ended:
                        yield OutputPiece(kind="end", cursor=Cursor(stdout=at).encode())
                        return
                    if self.fault is not None:
                        raise self.fault
                    await self._news.wait()
        finally:
            self.followers -= 1

    async def events(
        self, caller: Caller, *, after: int | None = None, job: str | None = None, wait_s: float = 0.0
    ) -> tuple[list[Event], int]:
        self._check("events")
        job_id = self._find(job, caller).id if job else None
        since = after if after is not None else (self.told[-1].seq if self.told else 0)

        def new() -> list[Event]:
            return [
                event
                for event in self.told
                if event.seq > since and event.owner == caller.user and job_id in (None, event.job)
            ]

        found = await self._until(new, wait_s)
        return found, found[-1].seq if found else since

    async def clusters(self, caller: Caller) -> list[ClusterInfo]:
        self._check("clusters")
        return [ClusterInfo(name="local", type="local", cpu_count=2)]

    async def look(self, paths: Sequence[str], caller: Caller) -> dict[str, Look]:
        return {path: Look(path=path, exists=path == "/") for path in paths}

    async def missing_blobs(self, digests: Sequence[str], caller: Caller) -> list[str]:
        return [digest for digest in digests if digest not in self.blobs]

    async def put_blobs(self, blobs: Sequence[tuple[str, bytes]], caller: Caller) -> None:
        if self.block is not None:
            await self.block.wait()
        for digest, data in blobs:
            if digest_of(data) != digest:
                raise InvalidRequest("a digest does not fit its bytes")
        self.blobs.update(blobs)

    async def get_blob(self, digest: str, caller: Caller) -> bytes:
        if digest not in self.blobs:
            raise NotFound(f"no blob {digest} of yours")
        return self.blobs[digest]

    async def files(self, name: str, caller: Caller) -> tuple[FileEntry, ...]:
        files = self.results.get(self._find(name, caller).id, {})
        return tuple(
            FileEntry(path=path.decode(), kind="file", size_bytes=len(data)) for path, data in files.items()
        )

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
        files = self.results.get(self._find(name, caller).id, {})
        if path not in files:
            raise NotFound("no such file")
        data = files[path]
        for start in range(offset, len(data), PIECE):
            yield data[start : start + PIECE]

    async def read_values(
        self, name: str, caller: Caller, offsets: Mapping[int, int], *, wait_s: float = 0.0
    ) -> AsyncGenerator[ValuePiece, None]:
        job_id = self._find(name, caller).id

        def new() -> dict[int, bytes]:
            logs = self.values.get(job_id, {})
            return {task: logs[task] for task in sorted(logs) if len(logs[task]) > offsets.get(task, 0)}

        grown = await self._until(lambda: new() or self.known[job_id].state.ended, wait_s)
        for task, log in new().items():
            at = offsets.get(task, 0)
            yield ValuePiece(kind="value", task=task, offset=at, data=log[at:])
        yield ValuePiece(kind="end" if grown and self.known[job_id].state.ended else "more")

    async def read_files(
        self, name: str, asked: Sequence[FileAsked], caller: Caller
    ) -> AsyncGenerator[list[FilePiece], None]:
        for number, one in enumerate(asked):
            try:
                pieces = self.read_file(name, one.path, one.area, caller, offset=one.offset)
                found = [piece async for piece in pieces] or [b""]
            except NotFound as error:
                yield [FilePiece(number=number, offset=one.offset, error=str(error))]
                continue
            offset = one.offset
            for place, data in enumerate(found, 1):
                yield [FilePiece(number=number, offset=offset, data=data, eof=place == len(found))]
                offset += len(data)

    async def mark_pulled(self, name: str, caller: Caller) -> None:
        self.pulled.append(self._find(name, caller).id)

    async def keep(self, name: str, until: datetime | None, caller: Caller) -> Job:
        results = ResultsSummary(state=ResultsState.READY, expires_at=until)
        return self.change(self._find(name, caller).id, results=results)

    async def prune(
        self,
        caller: Caller,
        *,
        results: bool = False,
        unfetched: bool = False,
        ended_before: datetime | None = None,
    ) -> Pruned:
        self._check("prune")
        return Pruned(freed_bytes=5, uploading=unfetched)

    async def expiring(self, caller: Caller) -> ExpiringResults:
        return ExpiringResults(as_of=NOW, count=len(self.shown))

    async def warned(self, as_of: datetime, caller: Caller) -> None:
        self._check("warned")
        self.shown.append(as_of)

    async def footprint(self, caller: Caller) -> Footprint:
        return Footprint(blobs_bytes=1, results_bytes=2, free_bytes=3, budget_bytes=4, job_count=5)

    async def create_token(
        self, caller: Caller, name: str, scope: Scope, expires_at: datetime | None
    ) -> tuple[str, TokenInfo]:
        secret = f"shp_{name}"
        token = TokenInfo(id=f"t-{name}", name=name, user=caller.user, scope=scope, created_at=NOW)
        self.credentials[secret] = token
        return secret, token

    async def tokens(self, caller: Caller) -> list[TokenInfo]:
        return list(self.credentials.values())

    async def revoke_token(self, token: str, caller: Caller) -> None:
        kept = {secret: one for secret, one in self.credentials.items() if one.id != token}
        if len(kept) == len(self.credentials):
            raise NotFound(f"no token {token!r} of yours")
        self.credentials = kept

    async def counts(self) -> dict[State, int]:
        self._check("counts")
        states = [job.state for job in self.known.values()]
        return {state: states.count(state) for state in set(states)}

    async def idle_for_s(self) -> float:
        return self.idle_s
