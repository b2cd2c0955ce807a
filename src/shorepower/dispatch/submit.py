"""A job goes in: checked against what is known, then one transaction, on disk before the answer."""

from __future__ import annotations

import hashlib
import json
import os
import secrets as randomness
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec.structs import replace

from ..files.blobs import BlobStore
from ..files.stage import missing_objects
from ..host.contract import Clock
from ..model.caller import Caller
from ..model.check import check
from ..model.cluster import ClusterInfo
from ..model.errors import Conflict, Fault, InvalidRequest, StorageFault
from ..model.job import Job, JobSpec, Submission, encode_spec, job_id_from, submission_id
from ..model.lifecycle import Attempt, Phase, Reason, State
from ..model.tasks import TaskSet
from ..store.contract import Store, Transaction
from .access import may_submit
from .fresh import Fresh
from .gate import Gate
from .held import QUEUED_WHY
from .holding import dependency_faults, hold_of
from .orders import FACTS
from .owned import Owned
from .places import Places

__all__ = ["Intake", "body_digest", "record"]

_SECRETS_LIMIT_BYTES = 1 << 20
_KEY_LIMIT = 200
_NAMED = 5
"""How many of the digests that are missing a fault names."""


class Intake:
    """Takes jobs in."""

    def __init__(
        self,
        store: Store,
        blobs: BlobStore,
        places: Places,
        clock: Clock,
        fresh: Mapping[str, Fresh],
        gate: Gate,
    ) -> None:
        self._store, self._blobs, self._places, self._gate = store, blobs, places, gate
        self._clock, self._fresh = clock, fresh
        self._owned = Owned(store, blobs)
        self._disk = CapacityLimiter(4)

    async def submit(
        self,
        spec: JobSpec,
        caller: Caller,
        clusters: dict[str, ClusterInfo],
        *,
        key: str | None,
        secrets: Mapping[str, str],
    ) -> tuple[Job, bool]:
        """See `Dispatcher.submit`."""
        may_submit(caller)
        digest = body_digest(spec)
        async with self._gate.many():  # no blob that was looked for goes before the job holds it
            faults = [*check(spec, clusters), *_check_request(spec, secrets, key)]
            if not faults:
                faults += await self._check_tree(spec, caller)
            if spec.after:
                faults += await self._store.read(lambda view: dependency_faults(view, spec, caller.user))
            if faults:
                if key is not None and (known := await self._known(caller, key, digest)):
                    return known, False  # it was right when it was recorded
                raise InvalidRequest(faults)
            job = _new_job(spec, caller, self._clock.now())
            kept = await self._record(job, spec, key, digest, secrets)
        if kept.id != job.id:
            return kept, False
        if kept.reason is Reason.QUEUED:
            self._fresh[spec.cluster].offer(kept, spec, _first(kept))
        return kept, True

    async def _record(
        self, job: Job, spec: JobSpec, key: str | None, digest: bytes, secrets: Mapping[str, str]
    ) -> Job:
        """The job on record under the key; secrets are on disk before it is."""
        if spec.secrets:
            await to_thread.run_sync(
                _write_secrets, self._places.secrets, job.id, secrets, limiter=self._disk
            )
        try:
            with anyio.CancelScope(shield=True):  # who asked may be gone; whether it landed must be known
                kept = await self._store.write(lambda tx: record(tx, job, spec, key, digest))
        except BaseException:
            _remove_secrets(self._places.secrets, job.id)
            raise
        if kept.id != job.id:
            _remove_secrets(self._places.secrets, job.id)
        return kept

    async def _known(self, caller: Caller, key: str, digest: bytes) -> Job | None:
        found = await self._store.read(lambda view: view.keyed(caller.user, key))
        if found is None:
            return None
        _same_body(key, found, digest)
        return await self._store.read(lambda view: view.job(found[0]))

    async def _check_tree(self, spec: JobSpec, caller: Caller) -> list[Fault]:
        wanted = list(spec.digests)
        if not wanted:
            return []
        owned = await self._store.read(lambda view: view.blobs_owned(caller.user, wanted))
        missing = [digest for digest in wanted if digest not in owned]
        if not missing and spec.tree:
            inside = await to_thread.run_sync(missing_objects, self._blobs, spec.tree, limiter=self._disk)
            missing = inside[:_NAMED] or await self._owned.missing(caller.user, spec.tree, limit=_NAMED)
        if not missing:
            return []
        return [Fault("tree", f"parts of the project were not sent yet: {', '.join(missing)}")]


def record(tx: Transaction, job: Job, spec: JobSpec, key: str | None, digest: bytes) -> Job:
    """Write a new job with its first submission, and its attempt if it is no array; the job already
    recorded under the key is returned instead. Raises Conflict when that one had another body."""
    if key is not None and (found := tx.keyed(job.owner, key)):
        _same_body(key, found, digest)
        known = tx.job(found[0])
        if known is not None:
            return known
    hold = hold_of(tx, spec, job.created_at)
    if hold is not None:
        job = replace(job, reason=Reason.HELD if hold.never else hold.reason, why=hold.why)
    tx.insert_job(job, spec, key=key, body_digest=digest)
    first = _first(job)
    tx.put_submission(first if hold is None else replace(first, phase=Phase.HELD))
    if not job.array:  # of the tasks of an array, only what happened to them is written
        tx.put_attempt(Attempt(job=job.id, submission=first.id, reason=job.reason))
    tx.append_event(job.created_at, "job.submitted", job, {"state": job.state, "name": job.name})
    return job


def _first(job: Job) -> Submission:
    """The submission that is recorded with a job."""
    tasks = TaskSet.first(job.task_count)
    return Submission(id=submission_id(job.id, 1), job=job.id, serial=1, cluster=job.cluster, tasks=tasks)


def body_digest(spec: JobSpec) -> bytes:
    """What tells one request body from another under the same key.

    The names of secrets count, as part of the spec; their values do not: a digest of a short value kept
    beside the spec would let whoever reads the database guess it.
    """
    return hashlib.sha256(encode_spec(spec)).digest()


def _same_body(key: str, found: tuple[str, bytes], digest: bytes) -> None:
    if found[1] != digest:
        raise Conflict(f"the key {key!r} was used for job {found[0]} with another request")


def _new_job(spec: JobSpec, caller: Caller, now: datetime) -> Job:
    count = spec.array.count if spec.array is not None else 1
    return Job(
        id=job_id_from(randomness.token_bytes(12)),
        name=spec.name,
        owner=caller.user,
        cluster=spec.cluster,
        queue=spec.queue,
        script=spec.script,
        state=State.PENDING,
        reason=Reason.QUEUED,
        why=QUEUED_WHY,
        created_at=now,
        resources=spec.resources,
        tags=spec.tags,
        array=spec.array is not None,
        task_count=count,
        counts={State.PENDING: count},
        project=spec.project,
        origin=spec.origin,
    )


def _check_request(spec: JobSpec, secrets: Mapping[str, str], key: str | None) -> list[Fault]:
    faults = []
    if set(spec.secrets) != set(secrets):
        faults.append(Fault("secrets", "the values sent are not those that the spec names"))
    if sum(len(name) + len(value) for name, value in secrets.items()) > _SECRETS_LIMIT_BYTES:
        faults.append(Fault("secrets", "secrets are over 1 MiB together"))
    for name, value in secrets.items():
        if not name or "=" in name or "\0" in name or "\0" in value:
            faults.append(Fault(f"secrets.{name}", f"{name!r} cannot be an environment variable"))
        elif name.startswith(FACTS):
            faults.append(
                Fault(f"secrets.{name}", f"{name} is a fact that every job is given; choose another name")
            )
    if key is not None and not (0 < len(key) <= _KEY_LIMIT and key.isprintable()):
        faults.append(Fault("Idempotency-Key", f"a key has 1 to {_KEY_LIMIT} printable characters"))
    return faults


def _write_secrets(folder: Path, job: str, secrets: Mapping[str, str]) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(folder / job, flags, 0o600), "w") as file:
            json.dump(dict(secrets), file)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(folder)
    except OSError as error:
        _remove_secrets(folder, job)
        raise StorageFault(f"the secrets cannot be kept: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove_secrets(folder: Path, job: str) -> None:
    (folder / job).unlink(missing_ok=True)
