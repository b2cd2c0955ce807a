"""What is known of the tasks of an array when its submission is looked for, or sent (again)."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from ..clusters.contract import Order
from ..model.job import Job, Submission
from ..model.lifecycle import ENDED, Reason, State
from ..store.contract import Snapshot, Transaction
from .fold import cancel, close
from .ledger import tasks_in

__all__ = ["settle_absent", "with_known"]

_BEGUN = (State.RUNNING, State.SUSPENDED)


def with_known(view: Snapshot, order: Order) -> Order:
    """The order of an array with which of its tasks have ended and which have begun; any other as it is."""
    job = view.job(order.job) if order.each is not None else None
    if job is None:
        return order
    return replace(
        order,
        ended=tasks_in(view, job, *ENDED),
        begun=tasks_in(view, job, *_BEGUN),
        seen_running=False,
    )


def settle_absent(tx: Transaction, job: Job, submission: Submission, now: datetime) -> Job:
    """It is proved that the cluster has none of an array's tasks: those that had begun are lost, and those
    that are to be stopped need not wait for it. The job as it is then."""
    lost = "the cluster knows nothing of it any more"
    begun = tasks_in(tx, job, *_BEGUN)
    if begun:
        job = close(tx, submission, State.FAILED, Reason.LOST, lost, now, tasks=begun) or job
    for control in tx.task_controls(job=job.id):
        job = cancel(tx, submission, control.operation, now, tasks=control.tasks) or job
    return job
