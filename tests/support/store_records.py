"""Records to put into a store, and stores to put them into."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from shorepower.model.job import Job, JobSpec, Submission, job_id_from, submission_id
from shorepower.model.lifecycle import Attempt, State
from shorepower.store.contract import Store, Transaction

NOW = datetime(2026, 11, 20, 9, 30, 0, 123456, tzinfo=UTC)

WAIT_S = 20.0
"""The longest that any test waits for another thread."""

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


@asynccontextmanager
async def writer_held(store: Store) -> AsyncIterator[Callable[[], None]]:
    """The writer is in the middle of a unit until the given function is called."""
    entered, release = anyio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(tx: Transaction) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert release.wait(WAIT_S)

    async with anyio.create_task_group() as group:
        group.start_soon(store.write, hold)
        await entered.wait()
        try:
            yield release.set
        finally:
            release.set()
