"""What tests of the dispatcher share: callers, specs, a job on record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from shorepower.dispatch.submit import record
from shorepower.model.caller import Caller, Scope
from shorepower.model.job import Job, JobSpec, job_id_from
from shorepower.model.lifecycle import Reason, State
from shorepower.store.contract import Store

__all__ = ["ALICE", "BOB", "NOW", "READER", "SUBMITTER", "a_job", "a_spec", "on_record"]

ALICE = Caller(user="alice", uid=1001)
BOB = Caller(user="bob", uid=1002)
READER = Caller(user="alice", scope=Scope.READ, via="token:reads")
SUBMITTER = Caller(user="alice", scope=Scope.SUBMIT, via="token:submits")
NOW = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)

_made = iter(range(10**9))


def a_spec(name: str = "job", **more: Any) -> JobSpec:
    """A spec that nothing is wrong with, in place so that nothing is staged."""
    told: dict[str, Any] = {"argv": ("true",), "in_place": True, "workdir": "/", "cluster": "fake"}
    return JobSpec(name=name, **(told | more))


def a_job(spec: JobSpec, owner: str = "alice") -> Job:
    """A new job of a spec, with an id that no other has."""
    number = next(_made)
    random = bytes((number >> shift) & 31 for shift in range(0, 60, 5))
    return Job(
        id=job_id_from(random),
        name=spec.name,
        owner=owner,
        cluster=spec.cluster,
        state=State.PENDING,
        reason=Reason.QUEUED,
        created_at=NOW,
        tags=spec.tags,
        counts={State.PENDING: 1},
    )


async def on_record(store: Store, spec: JobSpec | None = None, owner: str = "alice") -> Job:
    """A job with its first submission, due."""
    spec = spec or a_spec()
    job = a_job(spec, owner)
    return await store.write(lambda tx: record(tx, job, spec, None, b""))
