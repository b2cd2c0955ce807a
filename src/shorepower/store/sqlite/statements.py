"""Every statement that the store runs, by name. Lists of jobs are put together in `listing`."""

# ruff: noqa: S608, S105 - statements are made of the texts below alone; every value is bound

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["blobs_unused", "submissions_in"]

JOB_COLUMNS = """
  j.seq, j.id, j.owner, j.name, j.cluster, j.created_at, j.state, j.reason, j.why, j.started_at, j.ended_at,
  j.exit_code, j.signal, j.exit_status, j.attempt, j.restart, j.host, j.counts, j.usage, j.progress,
  j.wanted, j.stale_since, j.revision, c.queue, c.script, c.project, c.resources, c.tags, c.origin,
  c.task_count, r.state, r.file_count, r.size_bytes, r.why, r.expires_at, r.pulled_at, r.warned_at,
  c.is_array
"""

JOB_FROM = f"""
SELECT {JOB_COLUMNS}
FROM jobs j CROSS JOIN job_cards c ON c.job = j.seq CROSS JOIN results r ON r.job = j.seq
"""

JOB = f"{JOB_FROM} WHERE j.id = :job"

JOB_IDS = """
SELECT id FROM jobs WHERE id >= :prefix AND id < :beyond ORDER BY id LIMIT :limit
"""

JOB_IDS_OF = """
SELECT id FROM jobs INDEXED BY jobs_owner_id
WHERE owner = :owner AND id >= :prefix AND id < :beyond ORDER BY id LIMIT :limit
"""

SPEC = "SELECT spec FROM job_specs WHERE job = (SELECT seq FROM jobs WHERE id = ?)"

KEYED = """
SELECT j.id, k.body_digest FROM idempotency_keys k JOIN jobs j ON j.seq = k.job
WHERE k.owner = ? AND k.key = ?
"""

INSERT_JOB = """
INSERT INTO jobs (
  id, owner, name, cluster, created_at, latest_at, state, reason, why, started_at, ended_at, exit_code,
  signal, exit_status, attempt, restart, host, counts, usage, progress, wanted, stale_since, revision
) VALUES (
  :id, :owner, :name, :cluster, :created_at,
  max(:created_at, coalesce((SELECT latest_at FROM jobs ORDER BY seq DESC LIMIT 1), :created_at)),
  :state, :reason, :why, :started_at, :ended_at, :exit_code,
  :signal, :exit_status, :attempt, :restart, :host, :counts, :usage, :progress, :wanted, :stale_since,
  :revision
)
"""

INSERT_CARD = """
INSERT INTO job_cards (job, queue, script, project, resources, tags, origin, task_count, is_array)
VALUES (:seq, :queue, :script, :project, :resources, :tags, :origin, :task_count, :is_array)
"""

INSERT_SPEC = "INSERT INTO job_specs (job, spec) VALUES (?, ?)"

INSERT_BLOB = "INSERT INTO job_blobs (job, digest) VALUES (?, ?) ON CONFLICT DO NOTHING"

INSERT_RESULTS = """
INSERT INTO results (job, state, file_count, size_bytes, why, expires_at, pulled_at, warned_at)
VALUES (:seq, :results_state, :file_count, :size_bytes, :results_why, :expires_at, :pulled_at, :warned_at)
"""

INSERT_KEY = "INSERT INTO idempotency_keys (owner, key, body_digest, job) VALUES (?, ?, ?, ?)"

INSERT_TAG = "INSERT INTO job_tags (job, key, value, owner) VALUES (?, ?, ?, ?)"

DROP_TAGS = "DELETE FROM job_tags WHERE job = ?"

UPDATE_JOB = """
UPDATE jobs SET
  name = :name, cluster = :cluster, state = :state, reason = :reason, why = :why, started_at = :started_at,
  ended_at = :ended_at, exit_code = :exit_code, signal = :signal, exit_status = :exit_status,
  attempt = :attempt, restart = :restart, host = :host, counts = :counts, usage = :usage,
  progress = :progress, wanted = :wanted, stale_since = :stale_since, revision = :revision
WHERE seq = :seq
"""

UPDATE_CARD = """
UPDATE job_cards SET queue = :queue, script = :script, project = :project, resources = :resources,
  tags = :tags, origin = :origin, task_count = :task_count, is_array = :is_array
WHERE job = :seq
"""

UPDATE_RESULTS = """
UPDATE results SET state = :results_state, file_count = :file_count, size_bytes = :size_bytes,
  why = :results_why, expires_at = :expires_at, pulled_at = :pulled_at, warned_at = :warned_at
WHERE job = :seq
"""

DELETE_JOB = "DELETE FROM jobs WHERE id = ?"

STATE_COUNTS = "SELECT state, sum(n) FROM job_counts GROUP BY state HAVING sum(n) > 0"

STATE_COUNTS_OF = "SELECT state, n FROM job_counts WHERE owner = ? AND n > 0"

ENDED_BEFORE = """
SELECT ended_at, id FROM jobs INDEXED BY jobs_ended
WHERE ended_at > :after AND ended_at <= coalesce((
  SELECT ended_at FROM jobs INDEXED BY jobs_ended WHERE ended_at > :after AND ended_at < :moment
  ORDER BY ended_at LIMIT 1 OFFSET :limit - 1
), :moment - 1)
ORDER BY ended_at, seq
"""

# submissions, attempts, controls

SUBMISSION_COLUMNS = """
  s.id, j.id, s.serial, s.cluster, s.attempt, s.tasks, s.phase, s.not_before, s.handle, s.workdir, s.tries,
  s.why
"""

SUBMISSION_FROM = f"SELECT {SUBMISSION_COLUMNS} FROM submissions s CROSS JOIN jobs j ON j.seq = s.job"

SUBMISSION = f"{SUBMISSION_FROM} WHERE s.id = ?"

SUBMISSIONS = f"""
SELECT {SUBMISSION_COLUMNS} FROM jobs j CROSS JOIN submissions s ON s.job = j.seq
WHERE j.id = ? ORDER BY s.serial
"""

_ONE_PHASE = """
SELECT s.seq FROM submissions s INDEXED BY {index}
WHERE {cluster} s.phase = :phase{number} ORDER BY s.seq LIMIT :limit
"""


def submissions_in(cluster: str | None, phases: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The statement for one cluster or all, phase by phase: each walks its index up to ``:limit``."""
    entered = {"index": "submissions_phase", "cluster": ""}
    if cluster is not None:
        entered = {"index": "submissions_cluster_phase", "cluster": "s.cluster = :cluster AND"}
    walks = " UNION ALL ".join(
        f"SELECT seq FROM ({_ONE_PHASE.format(number=number, **entered)})" for number in range(len(phases))
    )
    statement = f"""{SUBMISSION_FROM}
    WHERE s.seq IN (SELECT seq FROM ({walks}) ORDER BY seq LIMIT :limit) ORDER BY s.seq"""
    params: dict[str, Any] = {f"phase{number}": phase for number, phase in enumerate(phases)}
    return statement, params | {"cluster": cluster}


PUT_SUBMISSION = """
INSERT INTO submissions (
  id, job, serial, cluster, attempt, tasks, phase, not_before, handle, workdir, tries, why
)
SELECT :id, seq, :serial, :cluster, :attempt, :tasks, :phase, :not_before, :handle, :workdir, :tries, :why
FROM jobs WHERE id = :job
ON CONFLICT (id) DO UPDATE SET
  serial = excluded.serial, cluster = excluded.cluster, attempt = excluded.attempt, tasks = excluded.tasks,
  phase = excluded.phase, not_before = excluded.not_before, handle = excluded.handle,
  workdir = excluded.workdir, tries = excluded.tries, why = excluded.why
WHERE job = excluded.job
"""

ATTEMPT_COLUMNS = """
  j.id, a.task, a.number, a.submission, a.restart, a.state, a.reason, a.why, a.exit_code, a.signal, a.host,
  a.started_at, a.ended_at, a.usage, a.seen
"""

ATTEMPT_FROM = f"SELECT {ATTEMPT_COLUMNS} FROM jobs j CROSS JOIN attempts a ON a.job = j.seq"

ATTEMPT = f"{ATTEMPT_FROM} WHERE j.id = ? AND a.task = ? AND a.number = ?"

ATTEMPTS = f"{ATTEMPT_FROM} WHERE j.id = ? ORDER BY a.task, a.number"

ATTEMPTS_OF_TASK = f"{ATTEMPT_FROM} WHERE j.id = ? AND a.task = ? ORDER BY a.number"

PUT_ATTEMPT = """
INSERT INTO attempts (
  job, task, number, submission, restart, state, reason, why, exit_code, signal, host, started_at, ended_at,
  usage, seen
)
SELECT seq, :task, :number, :submission, :restart, :state, :reason, :why, :exit_code, :signal, :host,
  :started_at, :ended_at, :usage, :seen
FROM jobs WHERE id = :job
ON CONFLICT (job, task, number) DO UPDATE SET
  submission = excluded.submission, restart = excluded.restart, state = excluded.state,
  reason = excluded.reason, why = excluded.why, exit_code = excluded.exit_code, signal = excluded.signal,
  host = excluded.host, started_at = excluded.started_at, ended_at = excluded.ended_at,
  usage = excluded.usage, seen = excluded.seen
"""

CONTROLS = """
SELECT j.id, k.operation, k.requested_at, k.requested_by, k.serial
FROM controls k CROSS JOIN jobs j ON j.seq = k.job
WHERE :cluster IS NULL OR j.cluster = :cluster ORDER BY k.serial
"""

CONTROL = """
SELECT j.id, k.operation, k.requested_at, k.requested_by, k.serial
FROM jobs j CROSS JOIN controls k ON k.job = j.seq WHERE j.id = ?
"""

CLEAR_CONTROL = "DELETE FROM controls WHERE job = (SELECT seq FROM jobs WHERE id = :job)"

PUT_CONTROL = """
INSERT INTO controls (job, operation, requested_at, requested_by)
SELECT seq, :operation, :at, :by FROM jobs WHERE id = :job
"""

DROP_CONTROL = f"{CLEAR_CONTROL} AND (:serial IS NULL OR serial = :serial)"

# news

_EVENT = "SELECT seq, v, at, type, job, owner, body FROM journal"

EVENTS = f"{_EVENT} WHERE seq > :after ORDER BY seq LIMIT :limit"

EVENTS_OF_OWNER = f"{_EVENT} WHERE owner = :owner AND seq > :after ORDER BY seq LIMIT :limit"

EVENTS_OF_JOB = f"""{_EVENT}
WHERE job = :job AND seq > :after AND (:owner IS NULL OR +owner = :owner) ORDER BY seq LIMIT :limit
"""

LAST_EVENT = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'journal'), 0)"

APPEND_EVENT = "INSERT INTO journal (v, at, type, job, owner, body) VALUES (1, ?, ?, ?, ?, ?)"

FORGET_EVENTS = "DELETE FROM journal WHERE job = ? AND seq <= ?"

AUDIT = "SELECT seq, at, who, what, subject FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"

APPEND_AUDIT = "INSERT INTO audit (at, who, what, subject) VALUES (?, ?, ?, ?)"

# tokens

TOKEN_COLUMNS = "id, hash, user, scope, name, created_at, expires_at, revoked_at, used_at"

TOKEN = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = ?"

TOKENS = f"SELECT {TOKEN_COLUMNS} FROM tokens ORDER BY seq DESC"

TOKENS_OF = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE user = ? ORDER BY seq DESC"

PUT_TOKEN = """
INSERT INTO tokens (id, hash, user, scope, name, created_at, expires_at, revoked_at, used_at)
VALUES (:id, :hash, :user, :scope, :name, :created_at, :expires_at, :revoked_at, :used_at)
ON CONFLICT (id) DO UPDATE SET
  hash = excluded.hash, user = excluded.user, scope = excluded.scope, name = excluded.name,
  created_at = excluded.created_at, expires_at = excluded.expires_at, revoked_at = excluded.revoked_at,
  used_at = excluded.used_at
"""

# blobs

BLOBS_OWNED = """
SELECT b.digest FROM json_each(:digests) d CROSS JOIN blobs b ON b.digest = d.value
CROSS JOIN blob_owners o ON o.blob = b.id AND o.owner = :owner
"""

LIVING = "j.state IN ('PENDING', 'RUNNING', 'SUSPENDED')"

_HELD_BY_LIVING = f"""
SELECT b.digest FROM jobs j INDEXED BY jobs_active CROSS JOIN job_blobs b ON b.job = j.seq WHERE {LIVING}
"""

_UNUSED = f"""
  AND b.used_at < :moment
  AND NOT EXISTS (SELECT 1 FROM blob_leases l WHERE l.blob = b.id AND l.until_at > :moment)
  AND b.digest NOT IN ({_HELD_BY_LIVING})
"""

_UNUSED_BY_ONE = f"""
  AND EXISTS (SELECT 1 FROM blob_owners o WHERE o.blob = b.id AND o.owner = :owner)
  AND NOT EXISTS (SELECT 1 FROM blob_owners o WHERE o.blob = b.id
    AND o.used_at >= CASE o.owner WHEN :owner THEN :own_moment ELSE :moment END)
  AND NOT EXISTS (SELECT 1 FROM blob_leases l WHERE l.blob = b.id
    AND l.until_at > CASE l.owner WHEN :owner THEN :own_lease ELSE :moment END)
  AND b.digest NOT IN ({_HELD_BY_LIVING})
"""

_AMONG = "json_each(:among) d CROSS JOIN blobs b ON b.digest = d.value"


def blobs_unused(*, by_one: bool, among: bool) -> str:
    """The statement for blobs that nobody used, or one owner no more; of all, or among some."""
    return f"""SELECT b.digest FROM {_AMONG if among else "blobs b"}
    WHERE true {_UNUSED_BY_ONE if by_one else _UNUSED} ORDER BY b.used_at, b.id LIMIT :limit"""


BLOB_BYTES = "SELECT n FROM totals WHERE name = 'blob_bytes'"

PUT_BLOB = """
INSERT INTO blobs (digest, size_bytes, used_at) VALUES (:digest, :size_bytes, :used_at)
ON CONFLICT (digest) DO UPDATE SET
  size_bytes = excluded.size_bytes, used_at = max(used_at, excluded.used_at)
RETURNING id
"""

PUT_BLOB_OWNER = """
INSERT INTO blob_owners (owner, blob, used_at) VALUES (:owner, :blob, :used_at)
ON CONFLICT (owner, blob) DO UPDATE SET used_at = max(used_at, excluded.used_at)
"""

LEASE_BLOBS = """
INSERT INTO blob_leases (blob, owner, until_at)
SELECT b.id, :owner, :until FROM json_each(:digests) d CROSS JOIN blobs b ON b.digest = d.value WHERE true
ON CONFLICT (blob, owner) DO UPDATE SET until_at = max(until_at, excluded.until_at)
"""

FORGET_BLOBS = "DELETE FROM blobs WHERE digest IN (SELECT value FROM json_each(?))"

# results

RESULTS_LISTING = "SELECT listing FROM result_listings WHERE job = (SELECT seq FROM jobs WHERE id = ?)"

PUT_LISTING = """
INSERT INTO result_listings (job, listing) SELECT seq, :listing FROM jobs WHERE id = :job
ON CONFLICT (job) DO UPDATE SET listing = excluded.listing
"""

DROP_LISTING = "DELETE FROM result_listings WHERE job = (SELECT seq FROM jobs WHERE id = ?)"

_RESULTS_JOB_FROM = f"""
SELECT {JOB_COLUMNS}
FROM results r CROSS JOIN jobs j ON j.seq = r.job CROSS JOIN job_cards c ON c.job = j.seq
"""

SAVING = """
SELECT j.id FROM results r INDEXED BY results_saving CROSS JOIN jobs j ON j.seq = r.job
WHERE r.state = 'saving' ORDER BY r.job LIMIT :limit
"""

WITH_RESULTS = f"""{_RESULTS_JOB_FROM}
WHERE r.state IN ('ready', 'partial') AND (:owner IS NULL OR j.owner = :owner) ORDER BY r.job
"""

EXPIRING = f"""{_RESULTS_JOB_FROM}
WHERE r.state <> 'expired' AND r.expires_at < :moment AND j.ended_at IS NOT NULL
  AND (r.pulled_at IS NOT NULL OR r.file_count = 0 OR r.warned_at >= r.expires_at - :notice
       OR r.expires_at < :unwarned)
ORDER BY r.expires_at LIMIT :limit
"""

UNFETCHED = f"""{_RESULTS_JOB_FROM}
WHERE r.state <> 'expired' AND r.state IN ('ready', 'partial') AND r.expires_at < :moment
  AND j.owner = :owner AND r.pulled_at IS NULL AND r.file_count > 0
ORDER BY r.expires_at, r.job
"""

TREES = f"""{_HELD_BY_LIVING}
UNION SELECT b.digest FROM results r INDEXED BY results_held CROSS JOIN job_blobs b ON b.job = r.job
WHERE r.state <> 'expired'
"""
