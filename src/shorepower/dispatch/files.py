"""Blobs come in, results are collected, listed and read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import CapacityLimiter, create_task_group, to_thread
from anyio.abc import TaskStatus
from msgspec.structs import replace

from ..clusters.contract import Cluster
from ..files.blobs import BlobStore
from ..files.collect import Listing, decode_listing, encode_listing, read
from ..host.contract import Clock
from ..model.caller import Caller
from ..model.check import faults_of
from ..model.errors import Fault, InvalidRequest, NotFound, ShorepowerError
from ..model.job import Job, JobSpec, Submission
from ..model.lifecycle import State
from ..model.results import FileEntry, ResultsState
from ..model.tree import is_digest
from ..store.contract import BlobOwner, Snapshot, Store, Transaction
from .access import find, may_change, may_submit
from .gate import Gate
from .listing import Named, list_results, tidy
from .news import News
from .places import DispatchSettings, Places
from .saved import save_output, save_tasks, saved_paths

__all__ = ["Files"]

log = structlog.get_logger(__name__)

_PIECE_BYTES = 1 << 20
_DIGESTS_LIMIT = 10_000


class Files:
    """The files of jobs, on the way in and on the way home."""

    def __init__(
        self,
        store: Store,
        clusters: Mapping[str, Cluster],
        blobs: BlobStore,
        places: Places,
        settings: DispatchSettings,
        clock: Clock,
        news: News,
        gate: Gate,
    ) -> None:
        self._clusters = clusters
        self._store, self._blobs, self._places, self._gate = store, blobs, places, gate
        self._settings, self._clock, self._news = settings, clock, news
        self._disk = CapacityLimiter(4)
        self._collecting = CapacityLimiter(settings.collect_workers)

    # blobs

    async def missing(self, digests: Sequence[str], caller: Caller) -> list[str]:
        """See `Dispatcher.missing_blobs`."""
        may_submit(caller)
        if len(digests) > _DIGESTS_LIMIT:
            raise InvalidRequest([Fault("digests", f"ask for at most {_DIGESTS_LIMIT} at a time")])
        if wrong := faults_of("digests", digests, is_digest, "is no digest; write sha256:<64 hex>"):
            raise InvalidRequest(wrong)
        async with self._gate.many():
            owned = await self._store.read(lambda view: view.blobs_owned(caller.user, digests))
            gone = await to_thread.run_sync(self._blobs.missing, sorted(owned), limiter=self._disk)
            present = owned.difference(gone)
            if present:
                until = self._clock.now() + timedelta(seconds=self._settings.blob_lease_s)
                await self._store.write(lambda tx: tx.lease_blobs(caller.user, present, until))
        return [digest for digest in dict.fromkeys(digests) if digest not in present]

    async def put(self, blobs: Sequence[tuple[str, bytes]], caller: Caller) -> None:
        """See `Dispatcher.put_blobs`."""
        may_submit(caller)
        now = self._clock.now()

        def own(tx: Transaction) -> None:
            for digest, data in blobs:
                tx.put_blob(BlobOwner(owner=caller.user, digest=digest, size_bytes=len(data), used_at=now))

        async with self._gate.many():
            await to_thread.run_sync(self._blobs.put, blobs, limiter=self._disk)
            await self._store.write(own)

    async def get(self, digest: str, caller: Caller) -> bytes:
        """See `Dispatcher.get_blob`."""
        owned = await self._store.read(lambda view: view.blobs_owned(caller.user, [digest]))
        if not owned:
            raise NotFound(f"no blob {digest} of yours")
        return await to_thread.run_sync(self._blobs.get, digest, limiter=self._disk)

    # results

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Collect the results of every job that ended, a few at a time, until cancelled."""
        busy: set[str] = set()

        async def one(job: str) -> None:
            try:
                await self._collect(job)
            except Exception as fault:  # one job's results must not keep those of all others
                log.warning("results not recorded; trying again", job=job, cause=type(fault).__name__)
                await anyio.sleep(self._settings.retry_most_s)
            busy.discard(job)
            self._news.tell("saving")

        with self._news.listen("saving") as asked:
            task_status.started()
            async with create_task_group() as tg:
                while True:
                    for job in await self._waiting(busy):
                        busy.add(job)
                        tg.start_soon(one, job)
                    await asked.wait(self._settings.retry_most_s)

    async def _waiting(self, busy: Collection[str]) -> list[str]:
        """Jobs to collect from now; none while the store cannot be read."""
        room = max(0, self._settings.collect_workers * 2 - len(busy))
        try:
            waiting = await self._store.read(lambda view: view.saving())
        except ShorepowerError as fault:
            log.warning("collecting put off", cause=type(fault).__name__)
            return []
        return [job for job in waiting if job not in busy][:room]

    async def _collect(self, job_id: str) -> None:
        """List and hash what came out; the listing and the new results state are one transaction."""
        found = await self._store.read(partial(_collectable, job=job_id))
        if found is None:
            await self._store.write(partial(_nothing_to_save, job=job_id))
            return
        job, spec, submission = found
        work = Path(submission.workdir)
        try:
            saved, faults = await self._save_output(job, spec, submission)
            out = await self._list(spec, work, saved, digests=True)
            out = replace(out, faults=(*faults, *out.faults))
        except Exception as fault:  # also what nobody foresaw: the folder is kept, and it is told why
            log.warning("results not collected", job=job_id, exc_info=not _is_foreseen(fault))
            await self._keep(job, ResultsState.FAILED, Listing(faults=(Fault("", str(fault)),)))
            return
        await self._keep(job, ResultsState.PARTIAL if out.faults else ResultsState.READY, out)
        if not out.faults and (spec.tree is not None or spec.array is not None):
            await to_thread.run_sync(tidy, self._blobs, spec, work, out, limiter=self._collecting)

    async def _save_output(
        self, job: Job, spec: JobSpec, submission: Submission
    ) -> tuple[Named, list[Fault]]:
        """Output that is asked for as a file is made one; (its names, what could not be saved)."""
        cluster = self._clusters.get(job.cluster)
        if cluster is None or not (spec.stdout_file or spec.stderr_file):
            return {}, []
        if spec.array is not None:
            return await save_tasks(cluster, self._store, job, spec, submission, self._disk)
        names: list[str] = []
        faults: list[Fault] = []
        for attempt in await self._store.read(lambda view: view.attempts(job.id)):
            if attempt.submission == submission.id:
                files = saved_paths(job, spec, attempt)
                project = Path(submission.workdir, "project")
                faults += await save_output(
                    cluster, attempt, files, project, umask=spec.umask, limiter=self._disk
                )
                names += files
        return {0: names}, faults

    async def _list(self, spec: JobSpec, work: Path, named: Named, *, digests: bool) -> Listing:
        look = partial(list_results, self._blobs, spec, work, named, digests=digests)
        return await to_thread.run_sync(look, limiter=self._collecting)

    async def _keep(self, job: Job, state: ResultsState, out: Listing) -> None:
        now = self._clock.now()
        expires_at = now + timedelta(seconds=self._settings.results_keep_s)

        def save(tx: Transaction) -> None:
            current = tx.job(job.id)
            if current is None or current.results.state is not ResultsState.SAVING:
                return
            results = replace(
                current.results,
                state=state,
                file_count=sum(entry.kind != "dir" for entry in out.entries),
                size_bytes=out.size_bytes,
                why="; ".join([*_sentences(out.faults[:5]), *out.notes]),
                expires_at=expires_at if state is not ResultsState.FAILED else None,
            )
            tx.put_results_listing(job.id, encode_listing(out))
            told = tx.update_job(replace(current, results=results))
            tx.append_event(now, "job.results", told, {"results": state, "files": results.file_count})

        await self._store.write(save)

    async def listing(self, name: str, caller: Caller) -> tuple[FileEntry, ...]:
        """See `Dispatcher.files`."""
        job = await self._store.read(lambda view: find(view, name, caller))
        saved = await self._store.read(lambda view: view.results_listing(job.id))
        if saved is not None:
            return decode_listing(saved).entries
        found = await self._store.read(partial(_started, job=job.id))
        if found is None:
            return ()
        _, spec, submission = found
        return (await self._list(spec, Path(submission.workdir), {}, digests=False)).entries

    async def read_file(
        self, name: str, path: bytes, area: str, caller: Caller, *, offset: int, length: int | None
    ) -> AsyncIterator[bytes]:
        """See `Dispatcher.read_file`."""
        job = await self._store.read(lambda view: find(view, name, caller))
        found = await self._store.read(partial(_started, job=job.id))
        if found is None or job.results.state is ResultsState.EXPIRED:
            raise NotFound(f"the results of {job.id} do not lie here (any more)")
        work = Path(found[2].workdir)
        end = None if length is None else offset + length
        while end is None or offset < end:
            most = _PIECE_BYTES if end is None else min(_PIECE_BYTES, end - offset)
            piece = await to_thread.run_sync(
                partial(read, work, path, area, offset=offset, length=most), limiter=self._disk
            )
            if not piece:
                return
            offset += len(piece)
            yield piece

    async def mark_pulled(self, name: str, caller: Caller) -> None:
        """See `Dispatcher.mark_pulled`."""
        may_change(caller)
        now = self._clock.now()

        def mark(tx: Transaction) -> None:
            job = find(tx, name, caller)
            if job.state.ended and job.results.pulled_at is None:
                tx.update_job(replace(job, results=replace(job.results, pulled_at=now)))

        await self._store.write(mark)


def _started(view: Snapshot, *, job: str) -> tuple[Job, JobSpec, Submission] | None:
    """The newest submission of a job that has a working folder of its own."""
    known, spec = view.job(job), view.spec(job)
    laid_out = [one for one in view.submissions(job) if one.workdir]
    if known is None or spec is None or not laid_out:
        return None
    return known, spec, laid_out[-1]


def _collectable(view: Snapshot, *, job: str) -> tuple[Job, JobSpec, Submission] | None:
    found = _started(view, job=job)
    if found is None or found[0].state in (State.PENDING, State.RUNNING, State.SUSPENDED):
        return None
    return found


def _sentences(faults: Iterable[Fault]) -> list[str]:
    return [f"{fault.field} {fault.message}".strip() for fault in faults]


def _is_foreseen(fault: Exception) -> bool:
    return isinstance(fault, ShorepowerError | OSError)


def _nothing_to_save(tx: Transaction, *, job: str) -> None:
    known = tx.job(job)
    if known is not None and known.results.state is ResultsState.SAVING:
        tx.update_job(replace(known, results=replace(known.results, state=ResultsState.NONE)))
