"""Structs to rows and back. A word or a form that is not known raises; nothing gets a default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

import msgspec
from msgspec.json import Decoder, encode

from ...model.caller import Scope
from ...model.events import Event
from ...model.job import Job, JobSpec, Origin, Progress, Submission, decode_spec
from ...model.lifecycle import Attempt, Operation, Phase, Reason, State
from ...model.names import storable
from ...model.resources import Resources
from ...model.results import ResultsState, ResultsSummary
from ...model.tasks import TaskSet
from ...model.usage import Usage
from ..contract import Control, Token
from ..tasks import TaskControl
from .faults import DamagedRow

__all__ = [
    "Params",
    "Row",
    "attempt_from",
    "attempt_params",
    "card_params",
    "control_from",
    "counts_from",
    "event_body",
    "event_from",
    "job_from",
    "job_params",
    "micros",
    "moment",
    "results_params",
    "spec_from",
    "submission_from",
    "submission_params",
    "task_control_from",
    "tasks_text",
    "token_from",
    "token_params",
]

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W", bound=StrEnum)

Params: TypeAlias = dict[str, Any]
Row: TypeAlias = tuple[Any, ...]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)

_COUNTS = Decoder(dict[State, int])
_USAGE = Decoder(Usage)
_PROGRESS = Decoder(Progress)
_RESOURCES = Decoder(Resources)
_TAGS = Decoder(dict[str, str])
_ORIGIN = Decoder(Origin)
_TASKS = Decoder(TaskSet)
_SEEN = Decoder(dict[str, tuple[int, float]])
_BODY = Decoder(dict[str, Any])


def micros(at: datetime) -> int:
    """Microseconds since 1970 UTC, exactly."""
    return (at - _EPOCH) // _MICRO


def moment(at: int) -> datetime:
    """The moment of `micros`, aware UTC."""
    return _EPOCH + timedelta(microseconds=at)


def _reads(read: Callable[P, R]) -> Callable[P, R]:
    """What a row holds and a struct cannot becomes a DamagedRow."""

    @wraps(read)
    def careful(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return read(*args, **kwargs)
        except (ValueError, TypeError, OverflowError, msgspec.MsgspecError) as error:
            kind = read.__name__.removesuffix("_from")
            raise DamagedRow(
                f"the job database holds a {kind} that this version cannot read: {error}"
            ) from error

    return careful


def _at(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _moment(at: int | None) -> datetime | None:
    return None if at is None else moment(at)


def _json(value: object) -> str | None:
    return None if value is None else encode(value).decode()


def _from_json(decoder: Decoder[R], text: str | None) -> R | None:
    return None if text is None else decoder.decode(text)


def _word(kind: type[W], text: str | None) -> W | None:
    return None if text is None else kind(text)


def _spelled(kind: type[W], word: W | None) -> str | None:
    """Refuses what could not be read back."""
    return None if word is None else kind(word).value


# jobs


@_reads
def job_from(row: Row) -> tuple[int, Job]:
    """(sequence number, job) of a row of `statements.JOB_COLUMNS`."""
    (seq, id, owner, name, cluster, created_at, state, reason, why, started_at, ended_at) = row[:11]
    (exit_code, signal, exit_status, attempt, restart, host, counts, usage, progress) = row[11:20]
    (wanted, stale_since, revision, queue, script, project, resources, tags, origin) = row[20:29]
    (task_count, results_state, file_count, size_bytes, results_why) = row[29:34]
    (expires_at, pulled_at, warned_at, is_array) = row[34:]
    return seq, Job(
        id=id,
        name=name,
        owner=owner,
        cluster=cluster,
        queue=queue,
        script=script,
        state=State(state),
        reason=_word(Reason, reason),
        why=why,
        created_at=moment(created_at),
        started_at=_moment(started_at),
        ended_at=_moment(ended_at),
        exit_code=exit_code,
        signal=signal,
        exit_status=exit_status,
        attempt=attempt,
        restart=restart,
        host=host,
        resources=_RESOURCES.decode(resources),
        tags=_TAGS.decode(tags),
        array=bool(is_array),
        task_count=task_count,
        counts=_COUNTS.decode(counts),
        usage=_from_json(_USAGE, usage),
        progress=_from_json(_PROGRESS, progress),
        results=ResultsSummary(
            state=ResultsState(results_state),
            file_count=file_count,
            size_bytes=size_bytes,
            why=results_why,
            expires_at=_moment(expires_at),
            pulled_at=_moment(pulled_at),
            warned_at=_moment(warned_at),
        ),
        project=project,
        origin=_from_json(_ORIGIN, origin),
        wanted=_word(Operation, wanted),
        stale_since=_moment(stale_since),
        revision=revision,
    )


def job_params(job: Job) -> Params:
    """What the row in ``jobs`` holds, without what the store itself decides."""
    return {
        "id": job.id,
        "owner": job.owner,
        "name": job.name,
        "cluster": job.cluster,
        "created_at": micros(job.created_at),
        "state": _spelled(State, job.state),
        "reason": _spelled(Reason, job.reason),
        "why": storable(job.why),
        "started_at": _at(job.started_at),
        "ended_at": _at(job.ended_at),
        "exit_code": job.exit_code,
        "signal": job.signal,
        "exit_status": job.exit_status,
        "attempt": job.attempt,
        "restart": job.restart,
        "host": job.host,
        "counts": _json(job.counts),
        "usage": _json(job.usage),
        "progress": _json(job.progress),
        "wanted": _spelled(Operation, job.wanted),
        "stale_since": _at(job.stale_since),
        "revision": job.revision,
    }


def card_params(job: Job) -> Params:
    """What the row in ``job_cards`` holds, without what only a spec tells."""
    return {
        "queue": job.queue,
        "script": job.script,
        "project": job.project,
        "resources": _json(job.resources),
        "tags": _json(job.tags),
        "origin": _json(job.origin),
        "task_count": job.task_count,
        "is_array": int(job.array),
    }


def results_params(results: ResultsSummary) -> Params:
    """What the row in ``results`` holds."""
    return {
        "results_state": _spelled(ResultsState, results.state),
        "file_count": results.file_count,
        "size_bytes": results.size_bytes,
        "results_why": storable(results.why),
        "expires_at": _at(results.expires_at),
        "pulled_at": _at(results.pulled_at),
        "warned_at": _at(results.warned_at),
    }


@_reads
def counts_from(found: Sequence[Row]) -> dict[State, int]:
    """How many jobs are in which state, of (state, number)."""
    return {State(state): number for state, number in found}


@_reads
def spec_from(data: bytes) -> JobSpec:
    """A spec of any version ever released."""
    return decode_spec(data)


# submissions and attempts


@_reads
def submission_from(row: Row) -> Submission:
    """Of a row of `statements.SUBMISSION_COLUMNS`."""
    (id, job, serial, cluster, attempt, tasks, phase, not_before, handle, workdir, tries, why) = row
    return Submission(
        id=id,
        job=job,
        serial=serial,
        cluster=cluster,
        attempt=attempt,
        tasks=_TASKS.decode(tasks),
        phase=Phase(phase),
        not_before=_moment(not_before),
        handle=handle,
        workdir=workdir,
        tries=tries,
        why=why,
    )


def submission_params(submission: Submission) -> Params:
    """What the row in ``submissions`` holds."""
    return {
        "id": submission.id,
        "job": submission.job,
        "serial": submission.serial,
        "cluster": submission.cluster,
        "attempt": submission.attempt,
        "tasks": _json(submission.tasks),
        "phase": _spelled(Phase, submission.phase),
        "not_before": _at(submission.not_before),
        "handle": submission.handle,
        "workdir": submission.workdir,
        "tries": submission.tries,
        "why": storable(submission.why),
    }


@_reads
def attempt_from(row: Row) -> Attempt:
    """Of a row of `statements.ATTEMPT_COLUMNS`."""
    (job, task, number, submission, restart, state, reason, why) = row[:8]
    (exit_code, signal, host, started_at, ended_at, usage, seen) = row[8:]
    return Attempt(
        job=job,
        task=task,
        number=number,
        submission=submission,
        restart=restart,
        state=State(state),
        reason=_word(Reason, reason),
        why=why,
        exit_code=exit_code,
        signal=signal,
        host=host,
        started_at=_moment(started_at),
        ended_at=_moment(ended_at),
        usage=_from_json(_USAGE, usage),
        seen=_SEEN.decode(seen),
    )


def attempt_params(attempt: Attempt) -> Params:
    """What the row in ``attempts`` holds."""
    return {
        "job": attempt.job,
        "task": attempt.task,
        "number": attempt.number,
        "submission": attempt.submission,
        "restart": attempt.restart,
        "state": _spelled(State, attempt.state),
        "reason": _spelled(Reason, attempt.reason),
        "why": storable(attempt.why),
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "host": attempt.host,
        "started_at": _at(attempt.started_at),
        "ended_at": _at(attempt.ended_at),
        "usage": _json(attempt.usage),
        "seen": _json(attempt.seen),
    }


@_reads
def control_from(row: Row) -> Control:
    """Of (job, operation, requested_at, requested_by, serial)."""
    job, operation, requested_at, requested_by, serial = row
    return Control(
        job=job,
        operation=Operation(operation),
        requested_at=moment(requested_at),
        requested_by=requested_by,
        serial=serial,
    )


@_reads
def task_control_from(row: Row) -> TaskControl:
    """Of (job, operation, tasks, requested_at, requested_by, serial)."""
    job, operation, tasks, requested_at, requested_by, serial = row
    return TaskControl(
        job=job,
        operation=Operation(operation),
        tasks=_TASKS.decode(tasks),
        requested_at=moment(requested_at),
        requested_by=requested_by,
        serial=serial,
    )


def tasks_text(tasks: TaskSet) -> str:
    """The stored form of a set of tasks."""
    return encode(tasks).decode()


# news and tokens


@_reads
def event_from(row: Row) -> Event:
    """Of (seq, v, at, type, job, owner, body)."""
    seq, v, at, type, job, owner, body = row
    return Event(v=v, seq=seq, at=moment(at), type=type, job=job, owner=owner, body=_BODY.decode(body))


def event_body(body: dict[str, object]) -> str:
    """The stored form of a body; text that is not UTF-8 is shown as escapes."""
    try:
        return encode(body).decode()
    except UnicodeEncodeError:
        return encode(_printable(body)).decode()


def _printable(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(one) for one in value]
    return value


@_reads
def token_from(row: Row) -> Token:
    """Of a row of `statements.TOKEN_COLUMNS`."""
    id, hash, user, scope, name, created_at, expires_at, revoked_at, used_at = row
    return Token(
        id=id,
        hash=hash,
        user=user,
        scope=Scope(scope),
        name=name,
        created_at=moment(created_at),
        expires_at=_moment(expires_at),
        revoked_at=_moment(revoked_at),
        used_at=_moment(used_at),
    )


def token_params(token: Token) -> Params:
    """What the row in ``tokens`` holds."""
    return {
        "id": token.id,
        "hash": token.hash,
        "user": token.user,
        "scope": _spelled(Scope, token.scope),
        "name": token.name,
        "created_at": micros(token.created_at),
        "expires_at": _at(token.expires_at),
        "revoked_at": _at(token.revoked_at),
        "used_at": _at(token.used_at),
    }
