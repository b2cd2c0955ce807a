"""Reads and writes of one unit of work."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

import apsw
from msgspec.structs import replace

from ...model.errors import Conflict, NotFound
from ...model.events import Event
from ...model.job import Job, JobSpec, Submission, encode_spec
from ...model.lifecycle import Attempt, Operation
from ..contract import BlobOwner, Control, Token, Transaction
from . import rows
from . import statements as sql
from .rows import Params, micros
from .snapshot import SqlSnapshot
from .task_rows import SqlTaskWrites

__all__ = ["SqlTransaction"]


class SqlTransaction(SqlSnapshot, SqlTaskWrites, Transaction):
    """Writes on the writer's connection, inside the savepoint of one unit."""

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        self.news: list[Event] = []
        """Events appended by this unit, in order."""

    def _change(self, statement: str, params: Params | tuple[object, ...]) -> int:
        """How many rows a statement touched."""
        self._run(statement, params)
        assert self._connection is not None
        return self._connection.changes()

    def _last_row(self) -> int:
        assert self._connection is not None
        return self._connection.last_insert_rowid()

    # jobs

    def insert_job(
        self, job: Job, spec: JobSpec, *, key: str | None = None, body_digest: bytes = b""
    ) -> None:
        """Raises Conflict for an id or a key that is on record already."""
        try:
            self._run(sql.INSERT_JOB, rows.job_params(job))
        except apsw.ConstraintError as error:
            raise Conflict(f"there is a job {job.id} already") from error
        assert self._connection is not None
        seq = self._connection.last_insert_rowid()
        self._run(sql.INSERT_CARD, rows.card_params(job) | {"seq": seq})
        self._run(sql.INSERT_SPEC, (seq, encode_spec(spec)))
        self._run(sql.INSERT_RESULTS, rows.results_params(job.results) | {"seq": seq})
        for digest in spec.digests:
            self._run(sql.INSERT_BLOB, (seq, digest))
        self._tag(seq, job)
        if key is None:
            return
        try:
            self._run(sql.INSERT_KEY, (job.owner, key, body_digest, seq))
        except apsw.ConstraintError as error:
            raise Conflict(f"the key {key!r} is on record already, for another job") from error

    def update_job(self, job: Job) -> Job:
        """Write all mutable columns; returns the job with its revision raised by one.

        Everything but ``id``, ``owner`` and ``created_at`` may change. The revision counts on from the
        one on record. Raises NotFound for a job that is not there.
        """
        row = self._first(sql.JOB, {"job": job.id})
        if row is None:
            raise NotFound(f"no job {job.id}")
        seq, before = rows.job_from(row)
        if (job.owner, job.created_at) != (before.owner, before.created_at):
            raise ValueError(f"the owner and the arrival of job {job.id} cannot change")
        told = replace(job, revision=before.revision + 1)
        self._run(sql.UPDATE_JOB, rows.job_params(told) | {"seq": seq})
        if told.results != before.results:
            self._run(sql.UPDATE_RESULTS, rows.results_params(told.results) | {"seq": seq})
        card = rows.card_params(told)
        if card != rows.card_params(before):
            self._run(sql.UPDATE_CARD, card | {"seq": seq})
        if told.tags != before.tags:
            self._run(sql.DROP_TAGS, (seq,))
            self._tag(seq, told)
        return told

    def delete_job(self, job: str) -> None:
        """The record and all that hangs on it, journal included; what this unit itself told stays, and
        so does the audit. Harmless when there is no such job."""
        self._run(sql.DELETE_JOB, (job,))
        first = self.news[0].seq if self.news else self.last_event() + 1
        self._run(sql.FORGET_EVENTS, (job, first - 1))

    def _tag(self, seq: int, job: Job) -> None:
        for key, value in job.tags.items():
            self._run(sql.INSERT_TAG, (seq, key, value, job.owner))

    # submissions, attempts, controls

    def put_submission(self, submission: Submission) -> None:
        if not self._change(sql.PUT_SUBMISSION, rows.submission_params(submission)):
            raise NotFound(f"no job {submission.job} for submission {submission.id}")

    def put_attempt(self, attempt: Attempt) -> None:
        if not self._change(sql.PUT_ATTEMPT, rows.attempt_params(attempt)):
            raise NotFound(f"no job {attempt.job} for an attempt")

    def put_control(self, job: str, operation: Operation, by: str, at: datetime) -> Control:
        """Raises NotFound for a job that is not there."""
        wanted = Operation(operation)
        self._run(sql.CLEAR_CONTROL, {"job": job})
        params = {"job": job, "operation": wanted.value, "at": micros(at), "by": by}
        if not self._change(sql.PUT_CONTROL, params):
            raise NotFound(f"no job {job}")
        assert self._connection is not None
        serial = self._connection.last_insert_rowid()
        return Control(job=job, operation=wanted, requested_at=at, requested_by=by, serial=serial)

    def drop_control(self, job: str, serial: int | None = None) -> None:
        self._run(sql.DROP_CONTROL, {"job": job, "serial": serial})

    # news

    def append_event(self, at: datetime, type: str, job: Job, body: dict[str, object]) -> Event:
        """The event holds its body as JSON gives it back: what readers of the journal see later."""
        stored = rows.event_body(body)
        self._run(sql.APPEND_EVENT, (micros(at), type, job.id, job.owner, stored))
        assert self._connection is not None
        seq = self._connection.last_insert_rowid()
        event = rows.event_from((seq, 1, micros(at), type, job.id, job.owner, stored))
        self.news.append(event)
        return event

    def append_audit(self, at: datetime, who: str, what: str, subject: str) -> None:
        self._run(sql.APPEND_AUDIT, (micros(at), who, what, subject))

    # blobs, tokens, results

    def put_blob(self, owned: BlobOwner) -> None:
        params = {"digest": owned.digest, "size_bytes": owned.size_bytes, "used_at": micros(owned.used_at)}
        ((blob,),) = self._run(sql.PUT_BLOB, params)
        self._run(sql.PUT_BLOB_OWNER, {"owner": owned.owner, "blob": blob, "used_at": params["used_at"]})

    def lease_blobs(self, owner: str, digests: Iterable[str], until: datetime) -> None:
        """A lease is only made longer; blobs that are not on record are passed over."""
        params = {"owner": owner, "digests": json.dumps(list(digests)), "until": micros(until)}
        self._run(sql.LEASE_BLOBS, params)

    def forget_blobs(self, digests: Iterable[str]) -> None:
        self._run(sql.FORGET_BLOBS, (json.dumps(list(digests)),))

    def put_token(self, token: Token) -> None:
        self._run(sql.PUT_TOKEN, rows.token_params(token))

    def put_results_listing(self, job: str, listing: bytes | None) -> None:
        if listing is None:
            self._run(sql.DROP_LISTING, (job,))
        elif not self._change(sql.PUT_LISTING, {"job": job, "listing": listing}):
            raise NotFound(f"no job {job}")
