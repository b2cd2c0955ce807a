"""What is kept for how long: results, output, records, blobs; and what goes when room is short."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from msgspec import Struct
from msgspec.structs import replace

from ..clusters.contract import Cluster
from ..files.blobs import BlobLost, BlobStore
from ..files.budget import Kept, budget_of, choose
from ..files.remove import remove
from ..files.stage import objects
from ..host.contract import Clock
from ..model.caller import Caller
from ..model.errors import InvalidRequest, ShorepowerError
from ..model.job import Job
from ..model.results import ResultsState
from ..store.contract import Snapshot, Store, Transaction, Unused
from .access import find, may_change
from .footprint import spooled
from .gate import Gate
from .places import DispatchSettings, Places
from .uploads import Uploads
from .warn import Warn

__all__ = ["Expire", "Pruned"]

log = structlog.get_logger(__name__)

_PAGE = 100
_BLOBS = 20_000
"""How many blobs go at a time, while nobody can send any."""
_BLOBS_LOOKED_AT = 5_000_000
_ROUNDS = 50
_HERE = (ResultsState.READY, ResultsState.PARTIAL)


class Pruned(Struct, frozen=True, kw_only=True):
    """What clearing up did."""

    freed_bytes: int
    uploading: bool = False
    """Blobs of the caller stay, as an upload goes on that may need them."""


class Expire:
    """Removes what nobody needs any more, and says what is kept."""

    def __init__(
        self,
        store: Store,
        clusters: Mapping[str, Cluster],
        blobs: BlobStore,
        places: Places,
        settings: DispatchSettings,
        clock: Clock,
        gate: Gate,
    ) -> None:
        self._store, self._clusters, self._blobs, self._gate = store, clusters, blobs, gate
        self._places, self._settings, self._clock = places, settings, clock
        self.uploads = Uploads(clock, settings.upload_idle_s)
        self.warn = Warn(store, settings, clock)
        self._disk = CapacityLimiter(1)
        self._output_gone_until: datetime | None = None
        self._spooled: dict[str, int] = {}
        """Bytes of output by submission, of ended jobs: those no longer change."""

    async def run(self) -> None:
        """Look now and then until cancelled; a fault is tried again next time."""
        while True:
            await anyio.sleep(self._settings.expire_period_s)
            try:
                await self.once()
            except (ShorepowerError, OSError) as fault:
                log.warning("expiry put off", cause=type(fault).__name__)

    async def once(self) -> int:
        """Everything that is due to go, goes; bytes freed."""
        now = self._clock.now()
        freed = 0
        unwarned = now - timedelta(seconds=self._settings.unwarned_keep_s)
        due = partial(_due, now=now, notice=self.warn.notice, unwarned=unwarned)
        for job in await self._store.read(due):
            freed += await self.drop_results(job)
        freed += await self._drop_records(now - timedelta(seconds=self._settings.record_keep_s))
        await self._drop_output(now - timedelta(seconds=self._settings.output_keep_s))
        freed += await self.sweep_blobs()
        return freed + await self._keep_budget()

    async def drop_results(self, job: Job) -> int:
        """The working folders of an ended job go, unless somebody kept them meanwhile; bytes freed.
        Marked first: what a crash leaves of a folder then is swept at the next start."""
        now = self._clock.now()

        def expire(tx: Transaction) -> bool:
            current = tx.job(job.id)
            if current is None or not current.state.ended or current.results != job.results:
                return False
            tx.put_results_listing(job.id, None)
            results = replace(current.results, state=ResultsState.EXPIRED)
            told = tx.update_job(replace(current, results=results))
            tx.append_event(now, "job.results", told, {"results": ResultsState.EXPIRED})
            return True

        return await self._remove_work(job.id) if await self._store.write(expire) else 0

    async def _remove_work(self, job_id: str) -> int:
        freed = 0
        for submission in await self._store.read(lambda view: view.submissions(job_id)):
            if submission.workdir:
                freed += await to_thread.run_sync(
                    remove, self._places.work(submission.id), limiter=self._disk
                )
        return freed

    async def prune(
        self, caller: Caller, *, results: bool, unfetched: bool, ended_before: datetime | None
    ) -> Pruned:
        """See `Dispatcher.prune`."""
        may_change(caller)
        before = ended_before or self._clock.now()
        freed = 0
        owned = await self._store.read(partial(_ended_of, owner=caller.user, before=before))
        for job in owned:
            if unfetched if job.results.pulled_at is None else results:
                freed += await self.drop_results(job)
        freed += await self.once()
        if self.uploads.going_on(caller.user):
            return Pruned(freed_bytes=freed, uploading=True)
        return Pruned(freed_bytes=freed + await self._sweep_own(caller.user))

    async def keep(self, name: str, until: datetime | None, caller: Caller) -> Job:
        """See `Dispatcher.keep`."""
        may_change(caller)
        now = self._clock.now()
        if until is not None and until <= now:
            raise InvalidRequest("keep until a moment in the future, or for good")

        def move(tx: Transaction) -> Job:
            job = find(tx, name, caller)
            if not job.state.ended:
                raise InvalidRequest(f"job {job.id} has not ended; its results are kept from then on")
            if job.results.state is ResultsState.EXPIRED:
                raise InvalidRequest(f"the results of {job.id} are gone already")
            results = replace(job.results, expires_at=until, warned_at=None)
            told = tx.update_job(replace(job, results=results))
            tx.append_event(now, "job.results", told, {"kept_until": until})
            return told

        return await self._store.write(move)

    async def sweep_blobs(self) -> int:
        """Blobs that no held snapshot reaches and no lease protects go; bytes freed."""
        freed, _ = await self._sweep(self._settings.blob_lease_s, None)
        return freed

    async def _sweep_own(self, owner: str) -> int:
        """Blobs of one owner who sends nothing go at once where nothing needs them: what a broken upload
        left; bytes freed."""
        now, idle = self._clock.now(), timedelta(seconds=self._settings.upload_idle_s)
        lease = timedelta(seconds=self._settings.blob_lease_s)
        by = Unused(owner=owner, since=now - idle, leased_until=now - idle + lease)
        freed = 0
        for _ in range(_ROUNDS):
            bytes_gone, gone = await self._sweep(self._settings.blob_lease_s, by)
            freed += bytes_gone
            if gone < _BLOBS:
                break
        return freed

    async def _sweep(self, lease_s: float, by: Unused | None) -> tuple[int, int]:
        """(bytes freed, how many blobs went)."""
        moment = self._clock.now() - timedelta(seconds=lease_s)
        unused = await self._store.read(
            lambda view: view.blobs_unused_since(moment, _BLOBS_LOOKED_AT, by=by)
        )
        if not unused:
            return 0, 0
        roots = await self._store.read(lambda view: view.trees())
        held = await to_thread.run_sync(_held, self._blobs, roots, limiter=self._disk)
        going = list(islice((digest for digest in unused if digest not in held), _BLOBS))
        if not going:
            return 0, 0

        def forget(tx: Transaction) -> list[str]:
            if tx.trees() - roots:
                return []  # a job came in meanwhile that may need some of these: another time
            gone = tx.blobs_unused_since(moment, _BLOBS, by=by, among=going)
            tx.forget_blobs(gone)
            return gone

        async with self._gate.alone():
            gone = await self._store.write(forget)
            freed = await to_thread.run_sync(self._blobs.delete, gone, limiter=self._disk)
        return freed, len(gone)

    async def budget_bytes(self) -> int:
        """What results, output and blobs may take together. Source: the contract, §2, Kept."""
        if self._settings.budget_bytes is not None:
            return self._settings.budget_bytes
        disk = await to_thread.run_sync(shutil.disk_usage, self._places.state_dir, limiter=self._disk)
        return budget_of(disk.total)

    async def _keep_budget(self) -> int:
        """Over the budget the results that were pulled longest ago go, with the output of their jobs, then
        the oldest output of jobs without results; results that were never pulled stay, with the output,
        until their owner was warned for long enough."""
        jobs = {job.id: job for job in await self._store.read(lambda view: view.with_results())}
        output, living_bytes = await self._output()
        sizes = {one.job: one.size_bytes for one in output}
        kept = [
            Kept(
                job=job.id,
                size_bytes=job.results.size_bytes + sizes.get(job.id, 0),
                ended_at=job.ended_at or job.created_at,
                pulled_at=job.results.pulled_at,
                warned_at=job.results.warned_at,
                for_good=job.results.expires_at is None,
            )
            for job in jobs.values()
        ]
        choice = choose(
            kept,
            [one for one in output if one.job not in jobs],
            unheld_blobs_bytes=0,
            held_blobs_bytes=await self._store.read(lambda view: view.blob_bytes()) + living_bytes,
            budget_bytes=await self.budget_bytes(),
            warned_before=self._clock.now() - self.warn.notice,
        )
        self.warn.pressed = frozenset(choice.warn)
        if choice.over_bytes:
            log.warning("over the budget by results that nobody pulled", jobs=len(choice.warn))
        freed = sum([await self.drop_results(jobs[gone]) for gone in choice.drop])
        for gone in (*choice.drop, *choice.drop_output):
            await self._forget(gone)
            freed += sizes.get(gone, 0)
        return freed

    async def _output(self) -> tuple[list[Kept], int]:
        """The output of each ended job, and the bytes of that of living ones."""
        sizes = await to_thread.run_sync(spooled, self._places.spool, self._spooled, limiter=self._disk)
        ended, living_bytes = await self._store.read(partial(_output_of, sizes=sizes))
        of = {one.job for one in ended}
        self._spooled = {name: size for name, size in sizes.items() if name.rpartition("-")[0] in of}
        return ended, living_bytes

    async def _drop_records(self, before: datetime) -> int:
        """Old records go with all that hangs on them; those of results that are still kept stay."""
        freed, after = 0, None
        while page := await self._store.read(partial(_old, before=before, after=after)):
            for _, job_id in page:
                if not await self._store.read(partial(_is_kept, job=job_id)):
                    await self._forget(job_id)
                    freed += await self._remove_work(job_id)
                    await self._store.write(lambda tx, gone=job_id: tx.delete_job(gone))
            after = page[-1][0]
        return freed

    async def _drop_output(self, before: datetime) -> None:
        """Goes on from where it was; from the beginning after a restart, which is harmless."""
        after = self._output_gone_until
        for moment, job_id in await self._store.read(
            lambda view: view.ended_before(before, after=after, limit=_PAGE)
        ):
            await self._forget(job_id)
            self._output_gone_until = moment

    async def _forget(self, job_id: str) -> None:
        for submission in await self._store.read(lambda view: view.submissions(job_id)):
            if cluster := self._clusters.get(submission.cluster):
                await cluster.forget(submission.id)


def _held(blobs: BlobStore, roots: set[str]) -> set[str]:
    """Every digest that these snapshots and inputs need."""
    held = set(roots)
    for root in roots:
        try:
            held.update(objects(blobs, root))
        except (BlobLost, InvalidRequest):
            continue  # an input that is no tree, or a snapshot damaged already: nothing below it to hold
    return held


def _output_of(view: Snapshot, *, sizes: Mapping[str, int]) -> tuple[list[Kept], int]:
    """By job; and what belongs to jobs that live."""
    by_job: dict[str, int] = {}
    for submission, size in sizes.items():
        job_id = submission.rpartition("-")[0]
        by_job[job_id] = by_job.get(job_id, 0) + size
    ended, living_bytes = [], 0
    for job_id, size in by_job.items():
        job = view.job(job_id)
        if job is None or job.ended_at is None or job.results.state is ResultsState.SAVING:
            living_bytes += size
            continue
        ended.append(Kept(job=job_id, size_bytes=size, ended_at=job.ended_at))
    return ended, living_bytes


def _due(view: Snapshot, *, now: datetime, notice: timedelta, unwarned: datetime) -> list[Job]:
    return view.expiring(now, _PAGE, notice=notice, unwarned=unwarned)


def _old(view: Snapshot, *, before: datetime, after: datetime | None) -> list[tuple[datetime, str]]:
    return view.ended_before(before, after=after, limit=_PAGE)


def _is_kept(view: Snapshot, *, job: str) -> bool:
    known = view.job(job)
    return known is not None and known.results.state in _HERE


def _ended_of(view: Snapshot, *, owner: str, before: datetime) -> list[Job]:
    kept = view.with_results(owner)
    return [
        job
        for job in kept
        if job.ended_at is not None and job.ended_at < before and job.results.expires_at is not None
    ]
