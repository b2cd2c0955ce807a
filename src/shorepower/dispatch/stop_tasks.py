"""Operations on some tasks of an array; runs inside a unit of work."""

from __future__ import annotations

from datetime import datetime

from ..model.array import ArraySpec, Numbering, parse_indices
from ..model.errors import Conflict, Fault, InvalidRequest
from ..model.job import Job, JobSpec
from ..model.lifecycle import Operation, Phase
from ..model.tasks import TaskSet
from ..store.contract import Transaction
from .fold import cancel, forbid_ended
from .ledger import Ledger

__all__ = ["named_tasks", "request_tasks"]

_WEAKER = {Operation.STOP: (Operation.STOP, Operation.KILL), Operation.KILL: (Operation.KILL,)}
"""What already asked of all tasks makes an operation on some of them needless."""
_LONGEST = 200


def named_tasks(job: Job, spec: JobSpec, text: str) -> TaskSet:
    """The positions of ``3-5,9``; a range may reach over gaps and ends. Raises InvalidRequest for what
    names no task of the job."""
    if spec.array is None:
        raise InvalidRequest([Fault("tasks", f"job {job.id} is no array: it has no tasks to name")])
    try:
        ranges, most = parse_indices(text)
    except ValueError as error:
        raise InvalidRequest([Fault("tasks", str(error))]) from None
    if most is not None:
        raise InvalidRequest([Fault("tasks", "% is for submitting; name tasks as 3-5,9")])
    numbering = Numbering(spec.array.ranges)
    found, lacking = numbering.positions(ranges), numbering.lacking(ranges)
    if lacking or not found:
        which = ",".join(map(str, lacking)) if found else text
        raise InvalidRequest([Fault("tasks", f"job {job.id} has no task {which}; {_extent(spec.array)}")])
    return found


def _extent(array: ArraySpec) -> str:
    lowest, highest, step = array.bounds
    by = f" in steps of {step}" if step > 1 else ""
    return f"its tasks are {lowest} to {highest}{by}" if lowest < highest else f"its only task is {lowest}"


def request_tasks(
    tx: Transaction, job: Job, tasks: TaskSet, operation: Operation, by: str, now: datetime, *, said: str
) -> Job:
    """Record that some tasks are to end; those that no cluster has yet end at once.

    ``said`` is how the caller named them. What was asked before changes nothing. Raises InvalidRequest for
    an operation that is for whole jobs, Conflict when none of the tasks lives.
    """
    if operation not in _WEAKER:
        raise InvalidRequest(
            [Fault("tasks", f"{operation} is for a whole job; some tasks can stop or kill")]
        )
    forbid_ended(job, operation)
    living = Ledger(tx, job).living(tasks)
    if not living:
        raise Conflict(
            f"all of the tasks {said} of job {job.id} have ended; nothing is left to {operation}"
        )
    if job.wanted in _WEAKER[operation]:
        return job
    before = [one for one in tx.task_controls(job=job.id) if one.operation is operation]
    asked = before[0].tasks if before else TaskSet()
    if not living - asked:
        return job
    tx.append_audit(now, by, operation.value, f"{job.id}_{said}"[:_LONGEST])
    for submission in tx.submissions(job.id):
        if submission.phase in (Phase.HELD, Phase.DUE) and (mine := living & submission.tasks):
            job = cancel(tx, submission, operation, now, by=by, tasks=mine) or job
            living -= mine
    if living:
        tx.put_task_control(job.id, operation, living | asked, by, now)
        tx.append_event(now, "job.control", job, {"tasks": said[:_LONGEST], "asked": operation, "by": by})
    return job
