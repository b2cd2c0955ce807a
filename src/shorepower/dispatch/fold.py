"""Rules that run inside a unit of work: how news, operations and refusals change what is recorded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from ..model.chunks import MOST_RESTARTS
from ..model.errors import Conflict, UnknownSchedulerState
from ..model.job import Job, Submission
from ..model.lifecycle import (
    Attempt,
    Observation,
    Operation,
    Phase,
    Reason,
    State,
    advance,
    exit_status,
)
from ..model.results import ResultsState
from ..model.tasks import TaskSet
from ..store.contract import Transaction
from .fold_tasks import DISPATCHER, TaskMetrics, fold_tasks

__all__ = ["GIVEN_UP", "cancel", "close", "fold", "forbid_ended", "request"]


def fold(
    tx: Transaction,
    news: Sequence[Observation],
    now: datetime,
    untouched: Collection[str] = (),
    metrics: TaskMetrics | None = None,
) -> list[Job]:
    """Fold observations in; the jobs that changed, as they are now.

    What came together for one submission is written once: a task that started and ended within one
    batch is told as ended. ``untouched``: submissions that ended with nothing in their working folder;
    they are recorded as having none. ``metrics``: of the tasks of arrays that ended.
    """
    by_submission: dict[str, list[Observation]] = {}
    for seen in news:
        by_submission.setdefault(seen.submission, []).append(seen)
    changed = []
    for name, seen in by_submission.items():
        submission = tx.submission(name)
        if submission is None or submission.phase is Phase.CLOSED:
            continue
        job = tx.job(submission.job)
        if job is not None and job.array:
            told = fold_tasks(tx, job, submission, seen, metrics or {})
            changed.append(_tell(tx, job, told, submission, now) if told is not None else None)
        else:
            changed.append(_fold_one(tx, job, submission, seen, now, name in untouched))
    return [job for job in changed if job is not None]


def _fold_one(
    tx: Transaction,
    job: Job | None,
    submission: Submission,
    news: Sequence[Observation],
    now: datetime,
    untouched: bool,
) -> Job | None:
    attempt = tx.attempt(submission.job, 0, submission.attempt)
    if attempt is None or job is None:
        raise UnknownSchedulerState(f"submission {submission.id} has no job on record")
    told = attempt
    for seen in news:
        told = advance(told, seen)
    if told is attempt:
        return None
    tx.put_attempt(told)
    if told.state.ended and untouched and not _is_saved(tx, submission.job):
        submission = replace(submission, workdir="")
    return _tell(tx, job, _follow(job, told), submission, now)


def _is_saved(tx: Transaction, job: str) -> bool:
    """Whether its output is to become a file among its results."""
    spec = tx.spec(job)
    return spec is None or bool(spec.stdout_file or spec.stderr_file)


def close(
    tx: Transaction,
    submission: Submission,
    state: State,
    reason: Reason,
    why: str,
    now: datetime,
    *,
    tasks: TaskSet | None = None,
) -> Job | None:
    """End a submission that no cluster holds, or only these tasks of it."""
    seen = Observation(
        submission=submission.id,
        tasks=submission.tasks if tasks is None else tasks,
        restart=_restart(tx, submission),
        as_of=now.timestamp(),
        source=DISPATCHER,
        state=state,
        reason=reason,
        why=why,
        ended_at=now,
    )
    return next(iter(fold(tx, [seen], now)), None)


def _restart(tx: Transaction, submission: Submission) -> int:
    """The newest there is: nothing that a cluster said of it is later than its end."""
    job = tx.job(submission.job)
    if job is not None and job.array:
        return MOST_RESTARTS
    attempt = tx.attempt(submission.job, 0, submission.attempt)
    return attempt.restart if attempt is not None else 0


def request(tx: Transaction, job: Job, operation: Operation, by: str, now: datetime) -> Job:
    """Record an operation before anything acts on it. A job that no cluster has yet is ended at once.

    What is so already, or is asked for more strongly, changes nothing: a client may ask twice.
    Raises Conflict when the job's state forbids it.
    """
    if _settled(job, operation):
        return job
    _may(job, operation)
    tx.append_audit(now, by, operation.value, job.id)
    if operation in _STOPS:
        waiting = [
            submission
            for submission in tx.submissions(job.id)
            if submission.phase in (Phase.HELD, Phase.DUE)
        ]
        for submission in waiting:
            ended = cancel(tx, submission, operation, now, by=by)
            if ended is not None and ended.state.ended:
                return ended
    tx.put_control(job.id, operation, by, now)
    told = tx.update_job(replace(job, wanted=operation))
    tx.append_event(now, "job.control", told, {"wanted": operation, "by": by})
    return told


GIVEN_UP = "within"
"""Who asks for a stop when a job has not started in time."""
_GIVEN_UP_WHY = "it was given up: it had not started within the time that was set"
_STOPS = {Operation.STOP: Reason.STOPPED, Operation.KILL: Reason.KILLED}
_SEEN_BY = {Operation.SUSPEND: State.SUSPENDED, Operation.RESUME: State.RUNNING}
_OPPOSITE = {Operation.SUSPEND: Operation.RESUME, Operation.RESUME: Operation.SUSPEND}


def cancel(
    tx: Transaction,
    submission: Submission,
    operation: Operation,
    now: datetime,
    *,
    by: str = "",
    tasks: TaskSet | None = None,
) -> Job | None:
    """End a submission that somebody stopped before any cluster had it, or only these tasks of it."""
    why = _GIVEN_UP_WHY if by == GIVEN_UP else "stopped before it was handed over"
    return close(tx, submission, State.CANCELED, _STOPS[operation], why, now, tasks=tasks)


def _settled(job: Job, operation: Operation) -> bool:
    """Whether a job is as it should be without doing anything."""
    if operation is Operation.STOP:
        return job.wanted is Operation.KILL
    return job.wanted is None and job.state is _SEEN_BY.get(operation) and not _may_resume(job, operation)


def forbid_ended(job: Job, operation: Operation) -> None:
    """Raises Conflict for a job that has ended."""
    if job.state.ended:
        raise Conflict(f"job {job.id} has ended ({job.state}); nothing is left to {operation}")


def _may(job: Job, operation: Operation) -> None:
    forbid_ended(job, operation)
    if operation in _STOPS:
        return
    if job.wanted in _STOPS:
        raise Conflict(f"job {job.id} is being stopped; it cannot {operation} any more")
    opposite = _OPPOSITE[operation]
    if _may_resume(job, operation) or job.wanted in (operation, opposite):
        return
    if job.state is not _SEEN_BY[opposite]:
        wanted = "running" if operation is Operation.SUSPEND else "suspended"
        raise Conflict(f"job {job.id} is {job.state}; only a {wanted} job can {operation}")


def _may_resume(job: Job, operation: Operation) -> bool:
    """Whether tasks of an array are suspended, however many others are seen to run: what suspends those may
    still be on its way."""
    return operation is Operation.RESUME and State.SUSPENDED in job.counts


def _follow(job: Job, attempt: Attempt) -> Job:
    """The job of one task stands where its newest attempt stands."""
    return replace(
        job,
        state=attempt.state,
        reason=attempt.reason,
        why=attempt.why,
        started_at=attempt.started_at or job.started_at,
        ended_at=attempt.ended_at,
        exit_code=attempt.exit_code,
        signal=attempt.signal,
        host=attempt.host,
        attempt=attempt.number,
        restart=attempt.restart,
        usage=attempt.usage,
        counts={attempt.state: 1},
    )


def _tell(tx: Transaction, job: Job, told: Job, submission: Submission, now: datetime) -> Job:
    """Write down how a job stands now, with what goes with its end, and a line in the journal."""
    if told.state.ended:
        tx.put_submission(replace(submission, phase=Phase.CLOSED))
        told = _ended(tx, told, submission, now)
    elif _is_met(job, told):
        tx.drop_control(job.id)
        told = replace(told, wanted=None)
    told = tx.update_job(told)
    tx.append_event(now, "job.state", told, _changed(job, told))
    return told


def _is_met(before: Job, after: Job) -> bool:
    """Whether a job was just seen to be suspended, or resumed in all of its tasks. That it is as it should
    be is not enough: what was asked before, and is being undone now, may still be on its way."""
    if before.wanted is None or after.state is not _SEEN_BY.get(before.wanted):
        return False
    if before.wanted is Operation.SUSPEND:
        return before.state is not State.SUSPENDED
    return State.SUSPENDED in before.counts and State.SUSPENDED not in after.counts


def _ended(tx: Transaction, job: Job, submission: Submission, now: datetime) -> Job:
    why = _GIVEN_UP_WHY if _was_given_up(tx, job) else job.why
    tx.drop_control(job.id)
    if job.array:
        tx.drop_task_control(job.id)
    status = exit_status(job.state, job.reason, job.exit_code, job.signal)
    results = job.results
    if submission.workdir:  # a folder was made for it, so something may have come out
        results = replace(results, state=ResultsState.SAVING)
    return replace(
        job,
        why=why,
        ended_at=job.ended_at or now,
        exit_status=1 if job.array and job.state is State.FAILED else status,
        wanted=None,
        results=results,
    )


def _was_given_up(tx: Transaction, job: Job) -> bool:
    """Whether it never started and its end is what the clock asked for."""
    if job.wanted is None or job.started_at is not None or job.state is not State.CANCELED:
        return False
    control = tx.control(job.id)
    return control is not None and control.requested_by == GIVEN_UP


_TOLD = ("state", "reason", "why", "exit_code", "signal", "exit_status", "host", "attempt", "restart")


def _changed(before: Job, after: Job) -> dict[str, Any]:
    news = {name: getattr(after, name) for name in _TOLD if getattr(before, name) != getattr(after, name)}
    if after.array:
        news["counts"] = after.counts
    return {**news, "state": after.state, "revision": after.revision}
