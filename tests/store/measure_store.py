"""Figures of the store: durable writes, and reads beside a long history. Run by hand:

python tests/store/measure_store.py [jobs of history, 1000000] [folder for the databases]
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw

from shorepower.model.job import Job, JobSpec, Submission, job_id_from, submission_id
from shorepower.model.lifecycle import Attempt, Phase, State
from shorepower.store.contract import JobQuery, Transaction
from shorepower.store.sqlite import SqliteStore, open_store

_START_US = 1_700_000_000_000_000
_STEP_US = 30_000_000

_HISTORY = f"""
CREATE TEMP TABLE n AS WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < :count)
  SELECT i, {_START_US} + i * {_STEP_US} AS at,
    CASE WHEN i > :count - 200 THEN 'RUNNING' WHEN i % 11 = 0 THEN 'FAILED' ELSE 'COMPLETED' END AS state,
    CASE WHEN i % 10 = 0 THEN 'other' ELSE 'me' END AS owner FROM c;
INSERT INTO jobs (seq, id, owner, name, cluster, created_at, latest_at, state, why, started_at, ended_at,
    exit_status, attempt, restart, host, counts, revision)
  SELECT i, 'j' || substr(hex(randomblob(6)), 1, 11), owner, 'train-' || (i % 5000) || '.R',
    CASE WHEN i % 1000 = 0 THEN 'hpc' ELSE 'local' END, at, at, state, 'it ended with exit code 0', at,
    CASE WHEN state = 'RUNNING' THEN NULL ELSE at + 60000000 END, 0, 1, 0, 'here',
    json_object(state, 1), 4 FROM n;
INSERT INTO job_cards SELECT i, NULL, 'train.R', '/home/me/analysis', '{{"memory_mib":4096}}',
    CASE WHEN i % 100 = 0 THEN '{{"paper":"p' || (i % 70000) || '"}}' ELSE '{{}}' END, NULL, 1 FROM n;
INSERT INTO job_tags SELECT i, 'paper', 'p' || (i % 70000), owner FROM n WHERE i % 100 = 0;
INSERT INTO job_specs SELECT i, CAST(json_object('name', 'train.R', 'argv', json_array('Rscript'), 'env',
    json_object('PATH', hex(zeroblob(500)))) AS BLOB) FROM n;
INSERT INTO job_blobs SELECT i, 'sha256:' || (i / 50) FROM n;
INSERT INTO results SELECT i, CASE WHEN i > :count - 3000 THEN 'ready' ELSE 'expired' END, 3, 4096, '',
    at + 86400000000, NULL FROM n;
INSERT INTO submissions SELECT i, j.id || '-1', i, 1, j.cluster, 1, '[[[0,1]]]',
    CASE WHEN n.state = 'RUNNING' THEN 'handed' ELSE 'closed' END, NULL, 'h', '/w', 1, ''
    FROM n JOIN jobs j ON j.seq = i;
INSERT INTO attempts SELECT i, 0, 1, id || '-1', 0, state, NULL, '', 0, NULL, 'here', started_at, ended_at,
    NULL, '{{}}' FROM n JOIN jobs USING (state, owner) WHERE seq = i;
INSERT INTO journal (v, at, type, job, owner, body) SELECT 1, created_at, 'job.state', id, owner,
    json_object('state', state) FROM jobs;
INSERT INTO journal (v, at, type, job, owner, body) SELECT 1, created_at, 'job.state', id, owner,
    json_object('state', state) FROM jobs;
DROP TABLE n;
"""


def record(tx: Transaction) -> Job:
    """What a submit writes."""
    now = datetime.now(UTC)
    job = Job(
        id=job_id_from(secrets.token_bytes(12)),
        name="train.R",
        owner="me",
        cluster="local",
        created_at=now,
        counts={State.PENDING: 1},
        project="/home/me/analysis",
    )
    spec = JobSpec(
        name="train.R", argv=("Rscript", "train.R"), env={f"NAME{n}": "value" * 8 for n in range(30)}
    )
    tx.insert_job(job, spec, key=job.id, body_digest=b"x" * 32)
    tx.put_submission(Submission(id=submission_id(job.id, 1), job=job.id, cluster="local"))
    tx.put_attempt(Attempt(job=job.id, submission=submission_id(job.id, 1)))
    tx.append_event(now, "job.submitted", job, {"state": job.state, "name": job.name})
    return job


async def writes(store: SqliteStore, callers: int, seconds: float = 3.0) -> str:
    """Durable writes a second of so many callers, each waiting for its own."""
    took: list[float] = []
    before, began = store.commits, time.perf_counter()

    async def call() -> None:
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            await store.write(record)
            took.append(time.perf_counter() - start)

    await asyncio.gather(*(call() for _ in range(callers)))
    rate = len(took) / (time.perf_counter() - began)
    p99 = statistics.quantiles(took, n=100)[98] * 1000
    shared = len(took) / (store.commits - before)
    return f"{callers:4} callers {rate:8.0f}/s  p99 {p99:6.1f} ms  {shared:.0f} a commit"


def questions(newest: datetime, middle: int, some_id: str) -> dict[str, Callable[[Any], object]]:
    """What is asked of a long history."""
    day = newest - timedelta(days=1)

    def jobs(**wanted: Any) -> Callable[[Any], object]:
        return lambda view: view.jobs(JobQuery(**wanted))

    return {
        "newest 50 of mine": jobs(owner="me"),
        "newest 50 of all": jobs(),
        "deep page": jobs(owner="me", before=middle),
        "living or of the last day": jobs(owner="me", active_or_after=day),
        "failed": jobs(owner="me", states=(State.FAILED,)),
        "canceled (none)": jobs(owner="me", states=(State.CANCELED,)),
        "living of all": jobs(states=(State.PENDING, State.RUNNING, State.SUSPENDED), limit=1000),
        "by tag": jobs(owner="me", tags={"paper": "p100"}),
        "by name": jobs(owner="me", name="train-7.R"),
        "by name (none)": jobs(owner="me", name="nothing"),
        "by cluster, rare": jobs(owner="me", cluster="hpc"),
        "since, none": jobs(owner="me", created_after=newest + timedelta(days=1)),
        "since the last hour": jobs(owner="me", created_after=newest - timedelta(hours=1)),
        "job by id": lambda view: view.job(some_id),
        "ids by one letter": lambda view: view.job_ids("me", "j", 6),
        "state counts": lambda view: view.state_counts(),
        "due of a cluster": lambda view: view.submissions_in("local", [Phase.DUE, Phase.HANDING], 64),
        "closed of a cluster": lambda view: view.submissions_in("local", [Phase.CLOSED], 64),
        "newest events of mine": lambda view: view.events(view.last_event() - 500, owner="me"),
        "ended before": lambda view: view.ended_before(day),
        "expiring": lambda view: view.expiring(newest),
        "saving": lambda view: view.saving(),
        "held trees": lambda view: view.trees(),
        "with results (3,000)": lambda view: view.with_results("me"),
        "unused blobs": lambda view: view.blobs_unused_since(day),
    }


async def reads(store: SqliteStore, count: int) -> None:
    """Median and worst of each question."""
    newest = datetime.fromtimestamp((_START_US + count * _STEP_US) / 1e6, UTC)
    some = (await store.read(lambda view: view.jobs(JobQuery(before=count // 2, limit=1))))[0][1]
    for name, ask in questions(newest, count // 2, some.id).items():
        took = []
        for _ in range(20):
            start = time.perf_counter()
            await store.read(ask)
            took.append((time.perf_counter() - start) * 1000)
        print(f"  {name:28} median {statistics.median(took):8.2f} ms   worst {max(took):8.2f} ms")


async def main(count: int, folder: Path) -> None:
    """Everything, in order."""
    for exclusive in (False, True):
        store = await open_store(folder / f"empty-{exclusive}.db", exclusive=exclusive)
        print("empty database, exclusive" if exclusive else "empty database")
        for callers in (1, 64, 256):
            print(" ", await writes(store, callers))
        await store.aclose()
    path = folder / "history.db"
    await (await open_store(path)).aclose()
    start = time.perf_counter()
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA synchronous = OFF; PRAGMA journal_mode = OFF; PRAGMA cache_size = -2000000")
    for statement in _HISTORY.split(";\n"):
        if statement.strip():
            connection.execute(statement, {"count": count})
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    print(f"{count} jobs loaded in {time.perf_counter() - start:.0f} s, {path.stat().st_size / 1e6:.0f} MB")
    store = await open_store(path)
    await reads(store, count)
    for callers in (1, 64):
        print(" ", await writes(store, callers))
    await store.aclose()


if __name__ == "__main__":
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as place:
        asyncio.run(main(jobs, Path(place)))
