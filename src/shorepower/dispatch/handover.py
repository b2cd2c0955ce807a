"""Handing over is a loop: what is due is staged, marked, sent, and its handle kept.

The only caller of `Cluster.submit`. It never orders jobs by merit: that is the scheduler's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from functools import partial

import anyio
import structlog
from anyio import CapacityLimiter, create_task_group, to_thread
from anyio.abc import TaskGroup, TaskStatus
from msgspec.structs import replace

from ..clusters.contract import Cluster, Finding, Order, Where
from ..files.blobs import BlobStore
from ..host.contract import Clock
from ..model.errors import InvalidRequest, ShorepowerError, StorageFault, SubmitRefused
from ..model.job import Job, JobSpec, Submission
from ..model.lifecycle import Operation, Phase, Reason, State
from ..store.contract import Snapshot, Store, Transaction
from .begun import settle_absent, with_known
from .fold import cancel, close, fold
from .fold_tasks import TaskMetrics
from .fresh import Fresh, Known
from .leftovers import Leftovers
from .news import News
from .orders import order_of
from .places import DispatchSettings, Places
from .prepare import prepare
from .task_metrics import MetricsReader

__all__ = ["Handover", "open_orders"]

log = structlog.get_logger(__name__)

Prepared = tuple[Submission, Order]


class Handover:
    """Hands the submissions of one cluster over."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        blobs: BlobStore,
        places: Places,
        settings: DispatchSettings,
        clock: Clock,
        news: News,
        fresh: Fresh,
    ) -> None:
        self._cluster, self._store, self._blobs = cluster, store, blobs
        self._places, self._settings, self._clock, self._news = places, settings, clock, news
        self._leftovers = Leftovers(store, places)
        self._staging = CapacityLimiter(settings.stage_workers)
        self._metrics = MetricsReader(store, places)
        self._asks = 0
        """How often in a row the cluster could not say what became of something."""
        self._refusals = 0
        """How often in a row the store refused."""
        self._full = 0
        """How often in a row the disk refused a working folder."""
        self._ask_all = True
        """Nobody asked yet what the last server had handed over."""
        self._doubtful: set[str] = set()
        """Submissions of which nobody knows whether they arrived."""
        self._busy: set[str] = set()
        """Submissions that are being laid out, wait in ``_ready``, or rest; at most a batch of the first
        two."""
        self._resting: set[str] = set()
        """Those of them that are tried again after a while."""
        self._ready: list[Prepared] = []
        self._fresh = fresh

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Find what was in flight, then hand over what is due until cancelled.

        A store that refuses (a full disk) stops nothing: what is due stays due and is tried again.
        """
        with self._news.listen(f"due:{self._cluster.name}", waiter=self._fresh):
            async with create_task_group() as tg:
                wait_s = await self._round(tg, find_only=True)
                task_status.started()
                while True:
                    if not await self._fresh.wait(wait_s) and wait_s:
                        self._fresh.missed = True  # now and then, whatever was told
                    wait_s = await self._round(tg)

    async def _round(self, tg: TaskGroup, *, find_only: bool = False) -> float:
        """Everything that can be done now; after how many seconds to look again without any news."""
        try:
            sent = False
            if not find_only:
                await self._take_up(tg)
                sent = await self._hand_over()
            if self._ask_all or self._doubtful:
                sent |= await self._find_again(tg)
        except ShorepowerError as fault:
            log.warning("handing over put off", cause=type(fault).__name__)
            self._refusals += 1
            return self._pause(self._refusals)
        self._refusals = 0
        if sent or self._ready or find_only:
            return 0.0  # there may be more than one batch
        return self._pause(self._asks) if self._doubtful else self._settings.retry_most_s

    def _pause(self, tries: int) -> float:
        return min(self._settings.retry_first_s * 2 ** min(tries - 1, 30), self._settings.retry_most_s)

    async def _take_up(self, tg: TaskGroup) -> None:
        """Begin to lay out what is due and not yet being laid out; bounded by the batch."""
        room = self._settings.handover_batch - len(self._busy) + len(self._resting)
        if room <= 0:
            return
        found = self._fresh.take(room)
        if not found and self._fresh.missed:
            found = await self._look_up(room)
        for job, spec, submission in found:
            if submission.id not in self._busy:
                self._busy.add(submission.id)
                tg.start_soon(self._prepare, job, spec, submission)

    async def _look_up(self, room: int) -> list[Known]:
        """What is due in the store."""
        self._fresh.missed = False
        try:
            found = await self._store.read(partial(self._due, besides=frozenset(self._busy), limit=room))
        except BaseException:
            self._fresh.missed = True
            raise
        self._fresh.forget(submission.id for _, _, submission in found)
        if len(found) == room:
            self._fresh.missed = True  # there may be more
        return found

    def _due(self, view: Snapshot, *, besides: Collection[str], limit: int) -> list[Known]:
        now = self._clock.now()
        due = view.submissions_in(self._cluster.name, (Phase.DUE,), limit + len(besides))
        ready = [one for one in due if one.id not in besides]
        ready = [one for one in ready if one.not_before is None or one.not_before <= now]
        return [known for one in ready[:limit] if (known := _known(view, one))]

    async def _prepare(self, job: Job, spec: JobSpec, submission: Submission) -> None:
        work = self._places.work(submission.id)
        try:
            await to_thread.run_sync(prepare, self._blobs, spec, work, limiter=self._staging)
        except StorageFault as fault:
            self._full += 1
            await self._put_aside(submission, partial(self._leave_due, why=str(fault)))
        except Exception as fault:  # one snapshot that nobody foresaw must not keep all others waiting
            if not isinstance(fault, InvalidRequest):
                log.exception("a working folder cannot be laid out", submission=submission.id)
            await self._put_aside(submission, partial(self._end, why=f"cannot be laid out: {fault}"))
        else:
            self._full = 0
            staged = replace(submission, workdir=str(work))
            self._ready.append((staged, order_of(job, spec, staged, self._places)))
            self._fresh.nudge()

    async def _put_aside(
        self, submission: Submission, tell: Callable[[Submission], Awaitable[None]]
    ) -> None:
        """Tell why it was not handed over; it is looked at again after a while if it is still due."""
        await self._leftovers.drop_work([submission.id])
        try:
            await tell(submission)
        except ShorepowerError as fault:
            log.warning("not recorded", submission=submission.id, cause=type(fault).__name__)
        await self._rest(submission.id, self._pause(max(self._full, 1)))

    async def _rest(self, submission: str, pause_s: float) -> None:
        """Nothing is done with a submission for a while."""
        self._busy.add(submission)
        self._resting.add(submission)
        await anyio.sleep(pause_s)
        self._busy.discard(submission)
        self._resting.discard(submission)
        self._fresh.wake()

    async def _hand_over(self) -> bool:
        """Send what is laid out, marked before, its handle kept after; whether there was any."""
        if not self._ready:
            return False
        ready, self._ready = self._ready, []
        try:
            handing, passed = await self._store.write(partial(_mark_handing, ready=ready))
        finally:
            self._busy.difference_update(submission.id for submission, _ in ready)
        self._doubtful.update(submission.id for submission, _ in handing)
        await self._leftovers.drop_work(passed)
        sent = [await self._send(submission, order) for submission, order in handing]
        handed = [pair for pair in sent if pair is not None]
        if await self._store.write(partial(_mark_handed, handed=handed, cluster=self._cluster.name)):
            self._news.tell(f"control:{self._cluster.name}")
        self._doubtful.difference_update(submission for submission, _ in handed)
        return True

    async def _send(self, submission: Submission, order: Order) -> tuple[str, str] | None:
        """(submission id, handle), or None when it was refused or nobody knows."""
        try:
            return submission.id, await self._cluster.submit(order)
        except SubmitRefused as refusal:
            await self._end(submission, why=str(refusal))
            self._doubtful.discard(submission.id)
        except Exception as fault:  # anything else leaves it unknown whether it was queued
            log.warning("submit in doubt", submission=submission.id, cause=type(fault).__name__)
        return None

    async def _find_again(self, tg: TaskGroup) -> bool:
        """Ask the cluster for what may have been sent before; whether some of it is due again now."""
        only = None if self._ask_all else frozenset(self._doubtful)
        read = partial(open_orders, cluster=self._cluster.name, only=only, places=self._places)
        orders = await self._store.read(read)
        findings = await self._cluster.adopt(orders) if orders else ()
        settled = Settled()
        if findings:
            metrics = await self._metrics.read(seen for one in findings for seen in one.observations)
            settled = await self._store.write(partial(self._settle, findings=findings, metrics=metrics))
            self._news.tell("saving")
            await self._leftovers.drop_secrets(settled.changed)
        self._ask_all = False
        self._doubtful = {one.submission for one in findings if one.where is Where.UNKNOWN}
        self._asks = self._asks + 1 if self._doubtful else 0
        again = [(one, tries) for one, tries in settled.due if tries > 1]
        for submission, tries in again:
            tg.start_soon(self._rest, submission, self._pause(tries - 1))
            self._busy.add(submission)
        return len(again) < len(settled.due)

    def _settle(self, tx: Transaction, *, findings: Sequence[Finding], metrics: TaskMetrics) -> Settled:
        now = self._clock.now()
        settled = Settled()
        stopped = {
            control.job: control.operation
            for control in tx.controls(self._cluster.name)
            if control.operation in (Operation.STOP, Operation.KILL)
        }
        for finding in findings:
            submission = tx.submission(finding.submission)
            if submission is None or submission.phase is Phase.CLOSED:
                continue
            if finding.where is Where.FOUND:
                tx.put_submission(replace(submission, phase=Phase.HANDED, handle=finding.handle))
                settled.changed += fold(tx, finding.observations, now, metrics=metrics)
            elif finding.where is Where.ABSENT:
                _absent(tx, submission, stopped.get(submission.job), settled, now)
        return settled

    async def _leave_due(self, submission: Submission, *, why: str) -> None:
        now = self._clock.now()

        def explain(tx: Transaction) -> None:
            job = tx.job(submission.job)
            if job is not None and job.why != why and not job.state.ended:
                told = tx.update_job(replace(job, why=why))
                tx.append_event(now, "job.state", told, {"why": why, "state": told.state})

        await self._store.write(explain)

    async def _end(self, submission: Submission, *, why: str) -> None:
        now = self._clock.now()
        ended = await self._store.write(
            lambda tx: close(tx, submission, State.FAILED, Reason.LAUNCH, why, now)
        )
        self._news.tell("saving")
        await self._leftovers.drop_secrets([ended] if ended else [])


class Settled:
    """What became of the findings of one question."""

    def __init__(self) -> None:
        self.changed: list[Job] = []
        self.due: list[tuple[str, int]] = []
        """Submissions that are due again, and how often they were."""


def open_orders(
    view: Snapshot, *, cluster: str, only: Collection[str] | None, places: Places
) -> list[Order]:
    """The orders of all submissions that a cluster has or may have, oldest first; or of ``only`` these."""
    open_ = view.submissions_in(cluster, (Phase.HANDING, Phase.HANDED))
    known = [entry for one in open_ if (only is None or one.id in only) and (entry := _known(view, one))]
    return [with_known(view, order_of(job, spec, submission, places)) for job, spec, submission in known]


def _known(view: Snapshot, submission: Submission) -> Known | None:
    job, spec = view.job(submission.job), view.spec(submission.job)
    return (job, spec, submission) if job is not None and spec is not None else None


def _absent(
    tx: Transaction, submission: Submission, stopped: Operation | None, settled: Settled, now: datetime
) -> None:
    """It is proved that the cluster has it not: send it again, unless it was stopped or seen to start."""
    job, attempt = tx.job(submission.job), tx.attempt(submission.job, 0, submission.attempt)
    is_array = job is not None and job.array
    ended = settle_absent(tx, job, submission, now) if job is not None and job.array else None
    if ended is not None and ended.state.ended:
        pass
    elif not is_array and attempt is not None and attempt.state is not State.PENDING:
        lost = "the cluster knows nothing of it any more"
        ended = close(tx, submission, State.FAILED, Reason.LOST, lost, now)
    elif stopped is not None:
        ended = cancel(tx, submission, stopped, now)
    else:
        due = replace(submission, phase=Phase.DUE, handle=None, tries=submission.tries + 1)
        tx.put_submission(due)
        settled.due.append((due.id, due.tries))
        return
    settled.changed += [ended] if ended else []


def _mark_handing(tx: Transaction, ready: Sequence[Prepared]) -> tuple[list[Prepared], list[str]]:
    """Those still due become ``handing``; one that was stopped meanwhile is passed over."""
    marked, passed = [], []
    for submission, order in ready:
        current = tx.submission(submission.id)
        if current is not None and current.phase is Phase.DUE:
            tx.put_submission(replace(submission, phase=Phase.HANDING, tries=current.tries))
            marked.append((submission, with_known(tx, order)))
        elif current is None or not current.workdir:
            passed.append(submission.id)
    return marked, passed


def _mark_handed(tx: Transaction, handed: Sequence[tuple[str, str]], cluster: str) -> bool:
    """Keep the handles; whether something was asked of one of these meanwhile."""
    jobs = set()
    for name, handle in handed:
        submission = tx.submission(name)
        if submission is not None and submission.phase is Phase.HANDING:
            tx.put_submission(replace(submission, phase=Phase.HANDED, handle=handle))
            jobs.add(submission.job)
    asked = (*tx.controls(cluster), *tx.task_controls(cluster))
    return any(control.job in jobs for control in asked)
