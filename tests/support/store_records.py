"""Records to put into a store, and stores to put them into."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from shorepower.model.job import Job, JobSpec, Submission, job_id_from, submission_id
from shorepower.model.lifecycle import Attempt, State
from shorepower.store.contract import Transaction

NOW = datetime(2026, 11, 20, 9, 30, 0, 123456, tzinfo=UTC)

_random = random.Random(7)


def after(seconds: float) -> datetime:
    """A moment relative to NOW."""
    return NOW + timedelta(seconds=seconds)


def job(**given: Any) -> Job:
    """A pending job with a fresh id."""
    state = given.get("state", State.PENDING)
    known = {
        "id": job_id_from(_random.randbytes(12)),
        "name": "train.R",
        "owner": "ada",
        "cluster": "local",
    }
    return Job(**(known | {"created_at": NOW, "counts": {state: 1}} | given))


def spec(**given: Any) -> JobSpec:
    """A small spec."""
    return JobSpec(**({"name": "train.R", "argv": ("Rscript", "train.R")} | given))


def insert(tx: Transaction, one: Job | None = None, **given: Any) -> Job:
    """Insert a job with a small spec."""
    kept = one or job(**given)
    tx.insert_job(kept, spec(name=kept.name))
    return kept


def submit(tx: Transaction, **given: Any) -> Job:
    """All that a submit writes: job, spec, submission, attempt, event."""
    kept = insert(tx, **given)
    tx.put_submission(submission(kept))
    tx.put_attempt(Attempt(job=kept.id, submission=submission_id(kept.id, 1)))
    tx.append_event(kept.created_at, "job.submitted", kept, {"state": kept.state, "name": kept.name})
    return kept


def submission(of: Job, serial: int = 1, **given: Any) -> Submission:
    """A due submission of a job."""
    return Submission(
        **(
            {"id": submission_id(of.id, serial), "job": of.id, "serial": serial, "cluster": of.cluster}
            | given
        )
    )
