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
from .fold import close, fold
from .news import News, Waiter
from .orders import order_of
from .places import DispatchSettings, Places
from .prepare import prepare

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
    ) -> None:
        self._cluster, self._store, self._blobs = cluster, store, blobs
        self._places, self._settings, self._clock, self._news = places, settings, clock, news
        self._staging = CapacityLimiter(settings.stage_workers)
        self._wait_s = settings.retry_first_s
        self._doubtful: set[str] = set()
        """Submissions of which nobody knows whether they arrived."""
        self._laying_out: set[str] = set()
        """Submissions that are being laid out or wait in ``_ready``; at most a batch."""
        self._ready: list[Prepared] = []
        self._due_news = Waiter()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Find what was in flight, then hand over what is due until cancelled.

        A store that refuses (a full disk) stops nothing: what is due stays due and is tried again.
        """
        with self._news.listen(f"due:{self._cluster.name}") as self._due_news:
            await self._find_again()
            async with create_task_group() as tg:
                task_status.started()
                while True:
                    try:
                        await self._take_up(tg)
                        await self._hand_over()
                        if self._doubtful:
                            await self._find_again(self._doubtful)
                    except ShorepowerError as fault:
                        log.warning("handing over put off", cause=type(fault).__name__)
                        await anyio.sleep(self._settings.retry_first_s)
                    wait_s = self._wait_s if self._doubtful else self._settings.retry_most_s
                    await self._due_news.wait(0.0 if self._ready else wait_s)

    async def _take_up(self, tg: TaskGroup) -> None:
        """Begin to lay out what is due and not yet being laid out; bounded by the batch."""
        room = self._settings.handover_batch - len(self._laying_out)
        if room <= 0:
            return
        read = partial(self._due, besides=frozenset(self._laying_out), limit=room)
        for job, spec, submission in await self._store.read(read):
            self._laying_out.add(submission.id)
            tg.start_soon(self._prepare, job, spec, submission)

    def _due(
        self, view: Snapshot, *, besides: Collection[str], limit: int
    ) -> list[tuple[Job, JobSpec, Submission]]:
        now = self._clock.now()
        due = view.submissions_in(self._cluster.name, (Phase.DUE,), limit + len(besides))
        ready = [one for one in due if one.id not in besides]
        ready = [one for one in ready if one.not_before is None or one.not_before <= now]
        return [known for one in ready[:limit] if (known := _known(view, one))]

    async def _prepare(self, job: Job, spec: JobSpec, submission: Submission) -> None:
        work = self._places.work(submission.id)
        try:
            await to_thread.run_sync(prepare, self._blobs, spec, work, limiter=self._staging)
            staged = replace(submission, workdir=str(work))
            self._ready.append((staged, order_of(job, spec, staged, self._places)))
        except InvalidRequest as fault:
            await self._put_aside(submission, partial(self._end, why=f"cannot be laid out: {fault}"))
        except StorageFault as fault:
            await self._put_aside(submission, partial(self._leave_due, why=str(fault)))
        self._due_news.wake()

    async def _put_aside(
        self, submission: Submission, tell: Callable[[Submission], Awaitable[None]]
    ) -> None:
        """Tell why it was not handed over; it is looked at again after a while if it is still due."""
        try:
            await tell(submission)
        except ShorepowerError as fault:
            log.warning("not recorded", submission=submission.id, cause=type(fault).__name__)
        await anyio.sleep(self._settings.retry_first_s)
        self._laying_out.discard(submission.id)

    async def _hand_over(self) -> None:
        """Send what is laid out, marked before, its handle kept after."""
        if not self._ready:
            return
        ready, self._ready = self._ready, []
        self._laying_out.difference_update(submission.id for submission, _ in ready)
        handing = await self._store.write(partial(_mark_handing, ready=ready))
        self._doubtful.update(submission.id for submission, _ in handing)
        sent = [await self._send(submission, order) for submission, order in handing]
        handed = [pair for pair in sent if pair is not None]
        await self._store.write(partial(_mark_handed, handed=handed))
        self._doubtful.difference_update(submission for submission, _ in handed)

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

    async def _find_again(self, only: Collection[str] | None = None) -> None:
        """Ask the cluster for what may have been sent before: all that is open, or ``only`` these."""
        read = partial(open_orders, cluster=self._cluster.name, only=only, places=self._places)
        orders = await self._store.read(read)
        findings = await self._cluster.adopt(orders) if orders else ()
        if findings:
            await self._store.write(partial(self._settle, findings=findings))
            self._news.tell("saving")
        self._doubtful = {one.submission for one in findings if one.where is Where.UNKNOWN}
        self._wait_s = (
            min(self._wait_s * 2, self._settings.retry_most_s)
            if self._doubtful
            else self._settings.retry_first_s
        )

    def _settle(self, tx: Transaction, *, findings: Sequence[Finding]) -> None:
        now = self._clock.now()
        stopping = (Operation.STOP, Operation.KILL)
        controls = tx.controls(self._cluster.name)
        stopped = {control.job for control in controls if control.operation in stopping}
        for finding in findings:
            submission = tx.submission(finding.submission)
            if submission is None or submission.phase is Phase.CLOSED:
                continue
            if finding.where is Where.FOUND:
                tx.put_submission(replace(submission, phase=Phase.HANDED, handle=finding.handle))
                fold(tx, finding.observations, now)
            elif finding.where is Where.ABSENT and submission.phase is Phase.HANDING:
                _back_to_due(tx, submission, stopped, now)

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
        await self._store.write(lambda tx: close(tx, submission, State.FAILED, Reason.LAUNCH, why, now))


def open_orders(
    view: Snapshot, *, cluster: str, only: Collection[str] | None, places: Places
) -> list[Order]:
    """The orders of all submissions that a cluster has or may have, oldest first; or of ``only`` these."""
    open_ = view.submissions_in(cluster, (Phase.HANDING, Phase.HANDED))
    known = [entry for one in open_ if (only is None or one.id in only) and (entry := _known(view, one))]
    return [order_of(job, spec, submission, places) for job, spec, submission in known]


def _known(view: Snapshot, submission: Submission) -> tuple[Job, JobSpec, Submission] | None:
    job, spec = view.job(submission.job), view.spec(submission.job)
    return (job, spec, submission) if job is not None and spec is not None else None


def _back_to_due(tx: Transaction, submission: Submission, stopped: set[str], now: datetime) -> None:
    """It is proved that a submission never arrived: send it again, unless somebody stopped it."""
    due = replace(submission, phase=Phase.DUE, tries=submission.tries + 1)
    tx.put_submission(due)
    if submission.job in stopped:
        close(tx, due, State.CANCELED, Reason.STOPPED, "stopped before it was handed over", now)


def _mark_handing(tx: Transaction, ready: Sequence[Prepared]) -> list[Prepared]:
    """Those still due become ``handing``; one that was stopped meanwhile is left out."""
    marked = []
    for submission, order in ready:
        current = tx.submission(submission.id)
        if current is not None and current.phase is Phase.DUE:
            tx.put_submission(replace(submission, phase=Phase.HANDING, tries=current.tries))
            marked.append((submission, order))
    return marked


def _mark_handed(tx: Transaction, handed: Sequence[tuple[str, str]]) -> None:
    for submission, handle in handed:
        current = tx.submission(submission)
        if current is not None and current.phase is Phase.HANDING:
            tx.put_submission(replace(current, phase=Phase.HANDED, handle=handle))
