"""Reads of one unit of work."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import apsw

from ...model.events import Event
from ...model.job import Job, JobSpec, Submission
from ...model.lifecycle import Attempt, Phase, State
from ..contract import Control, JobQuery, Snapshot, Token, Unused
from . import rows
from . import statements as sql
from .faults import DamagedRow
from .listing import listing
from .rows import Params, micros, moment
from .task_rows import SqlTaskReads

__all__ = ["SqlSnapshot"]

_FIRST = -(1 << 63)
_BEYOND = "\U0010ffff"


class SqlSnapshot(SqlTaskReads, Snapshot):
    """Reads on a connection that is inside a transaction; of no use once its unit is over."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection: apsw.Connection | None = connection

    def end(self) -> None:
        """The unit is over: whoever still holds this object gets a RuntimeError."""
        self._connection = None

    def _run(self, statement: str, params: Params | Sequence[object] = ()) -> list[rows.Row]:
        if self._connection is None:
            raise RuntimeError("this unit of work is over; return what you need from it")
        return self._connection.execute(statement, params).fetchall()

    def _first(self, statement: str, params: Params | Sequence[object] = ()) -> rows.Row | None:
        found = self._run(statement, params)
        return found[0] if found else None

    # jobs

    def job(self, job: str) -> Job | None:
        row = self._first(sql.JOB, {"job": job})
        return None if row is None else rows.job_from(row)[1]

    def spec(self, job: str) -> JobSpec | None:
        row = self._first(sql.SPEC, (job,))
        return None if row is None else rows.spec_from(row[0])

    def jobs(self, query: JobQuery) -> list[tuple[int, Job]]:
        return [rows.job_from(row) for row in self._run(*listing(query))]

    def job_ids(self, owner: str | None, prefix: str, limit: int = 10) -> list[str]:
        params = {"prefix": prefix, "beyond": prefix + _BEYOND, "owner": owner, "limit": max(limit, 0)}
        return [row[0] for row in self._run(sql.JOB_IDS if owner is None else sql.JOB_IDS_OF, params)]

    def keyed(self, owner: str, key: str) -> tuple[str, bytes] | None:
        row = self._first(sql.KEYED, (owner, key))
        return None if row is None else (row[0], row[1])

    def state_counts(self, owner: str | None = None) -> dict[State, int]:
        found = self._run(sql.STATE_COUNTS) if owner is None else self._run(sql.STATE_COUNTS_OF, (owner,))
        return rows.counts_from(found)

    def ended_before(
        self, moment: datetime, *, after: datetime | None = None, limit: int = 100
    ) -> list[tuple[datetime, str]]:
        """Jobs that ended in the same microsecond as the last one come along, beyond ``limit``: so the
        last end is a cursor that leaves nothing out."""
        if limit < 1:
            return []
        params = {
            "moment": micros(moment),
            "after": _FIRST if after is None else micros(after),
            "limit": limit,
        }
        return [(rows.moment(at), job) for at, job in self._run(sql.ENDED_BEFORE, params)]

    # submissions, attempts, controls

    def submission(self, submission: str) -> Submission | None:
        row = self._first(sql.SUBMISSION, (submission,))
        return None if row is None else rows.submission_from(row)

    def submissions(self, job: str) -> list[Submission]:
        return [rows.submission_from(row) for row in self._run(sql.SUBMISSIONS, (job,))]

    def submissions_in(
        self, cluster: str | None, phases: Sequence[Phase], limit: int | None = None
    ) -> list[Submission]:
        statement, params = sql.submissions_in(cluster, [Phase(phase).value for phase in phases])
        params["limit"] = -1 if limit is None else max(limit, 0)
        return [rows.submission_from(row) for row in self._run(statement, params)] if phases else []

    def attempt(self, job: str, task: int, number: int) -> Attempt | None:
        row = self._first(sql.ATTEMPT, (job, task, number))
        return None if row is None else rows.attempt_from(row)

    def attempts(self, job: str, task: int | None = None) -> list[Attempt]:
        if task is None:
            return [rows.attempt_from(row) for row in self._run(sql.ATTEMPTS, (job,))]
        return [rows.attempt_from(row) for row in self._run(sql.ATTEMPTS_OF_TASK, (job, task))]

    def controls(self, cluster: str | None = None) -> list[Control]:
        return [rows.control_from(row) for row in self._run(sql.CONTROLS, {"cluster": cluster})]

    def control(self, job: str) -> Control | None:
        row = self._first(sql.CONTROL, (job,))
        return None if row is None else rows.control_from(row)

    # news

    def events(
        self, after: int, *, owner: str | None = None, job: str | None = None, limit: int = 500
    ) -> list[Event]:
        params = {"after": after, "owner": owner, "job": job, "limit": max(limit, 0)}
        if job is not None:
            statement = sql.EVENTS_OF_JOB
        else:
            statement = sql.EVENTS if owner is None else sql.EVENTS_OF_OWNER
        return [rows.event_from(row) for row in self._run(statement, params)]

    def last_event(self) -> int:
        return self._number(sql.LAST_EVENT)

    def audit(self, after: int = 0, limit: int = 500) -> list[dict[str, str]]:
        return [
            {"seq": str(seq), "at": moment(at).isoformat(), "who": who, "what": what, "subject": subject}
            for seq, at, who, what, subject in self._run(sql.AUDIT, (after, max(limit, 0)))
        ]

    # blobs, tokens, results

    def blobs_owned(self, owner: str, digests: Iterable[str]) -> set[str]:
        params = {"owner": owner, "digests": json.dumps(list(digests))}
        return {row[0] for row in self._run(sql.BLOBS_OWNED, params)}

    def blobs_unused_since(
        self,
        moment: datetime,
        limit: int = 1000,
        *,
        by: Unused | None = None,
        among: Iterable[str] | None = None,
    ) -> list[str]:
        """A lease holds while it ends later than ``moment``, which no living lease does not."""
        params: Params = {"moment": micros(moment), "limit": max(limit, 0)}
        if by is not None:
            own = {"own_moment": micros(by.since), "own_lease": micros(by.leased_until)}
            params |= {"owner": by.owner, **own}
        if among is not None:
            params["among"] = json.dumps(list(among))
        statement = sql.blobs_unused(by_one=by is not None, among=among is not None)
        return [row[0] for row in self._run(statement, params)]

    def blob_bytes(self) -> int:
        return self._number(sql.BLOB_BYTES)

    def token(self, hash: bytes) -> Token | None:
        row = self._first(sql.TOKEN, (hash,))
        return None if row is None else rows.token_from(row)

    def tokens(self, user: str | None = None) -> list[Token]:
        """Newest first."""
        found = self._run(sql.TOKENS) if user is None else self._run(sql.TOKENS_OF, (user,))
        return [rows.token_from(row) for row in found]

    def results_listing(self, job: str) -> bytes | None:
        row = self._first(sql.RESULTS_LISTING, (job,))
        return None if row is None else row[0]

    def saving(self, limit: int = 100) -> list[str]:
        return [row[0] for row in self._run(sql.SAVING, {"limit": max(limit, 0)})]

    def with_results(self, owner: str | None = None) -> list[Job]:
        return [rows.job_from(row)[1] for row in self._run(sql.WITH_RESULTS, {"owner": owner})]

    def trees(self) -> set[str]:
        return {row[0] for row in self._run(sql.TREES)}

    def expiring(
        self,
        moment: datetime,
        limit: int = 100,
        *,
        notice: timedelta = timedelta(0),
        unwarned: datetime | None = None,
    ) -> list[Job]:
        params = {
            "moment": micros(moment),
            "limit": max(limit, 0),
            "notice": notice // timedelta(microseconds=1),
            "unwarned": micros(moment if unwarned is None else unwarned),
        }
        return [rows.job_from(row)[1] for row in self._run(sql.EXPIRING, params)]

    def unfetched(self, owner: str, moment: datetime) -> list[Job]:
        params = {"owner": owner, "moment": micros(moment)}
        return [rows.job_from(row)[1] for row in self._run(sql.UNFETCHED, params)]

    def _number(self, statement: str) -> int:
        row = self._first(statement)
        if row is None or not isinstance(row[0], int):
            raise DamagedRow("the job database lost one of its counters; restore a backup")
        return row[0]
