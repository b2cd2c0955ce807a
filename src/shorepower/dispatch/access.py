"""Who may see and do what; and which job a name means. Only the owner, here."""

from __future__ import annotations

import re

from ..model.caller import Caller, Scope
from ..model.errors import Ambiguous, NotAllowed, NotFound, names_no_job
from ..model.job import Job, is_job_id
from ..model.resources import counted
from ..store.contract import JobQuery, Snapshot

__all__ = ["find", "may_change", "may_submit"]

_LAST = re.compile(r"@-([1-9]\d{0,3})")
_PREFIX = re.compile(r"[a-z][a-z2-7]{0,11}")


def find(view: Snapshot, name: str, caller: Caller) -> Job:
    """The caller's job by id, unique prefix, ``@name`` (its newest) or ``@-1``.

    Raises NotFound for what does not exist and for what is another's, without telling them apart.
    """
    if name.startswith("@"):
        return _find_at(view, name, caller)
    if is_job_id(name):
        job = view.job(name)
        if job is None or job.owner != caller.user:
            raise NotFound(f"no job {name}")
        return job
    if not _PREFIX.fullmatch(name):
        raise names_no_job(name)
    ids = view.job_ids(caller.user, name, 6)
    if len(ids) > 1:
        raise Ambiguous(name, ids)
    job = view.job(ids[0]) if ids else None
    if job is None:
        raise NotFound(f"no job whose id begins with {name}")
    return job


def _find_at(view: Snapshot, name: str, caller: Caller) -> Job:
    if back := _LAST.fullmatch(name):
        count = int(back[1])
        jobs = view.jobs(JobQuery(owner=caller.user, limit=count))
        if len(jobs) < count:
            raise NotFound(f"you have {counted(len(jobs), 'job')}, so no {name}")
        return jobs[-1][1]
    jobs = view.jobs(JobQuery(owner=caller.user, name=name[1:], limit=1))
    if not jobs:
        raise NotFound(f"no job of yours has the name {name[1:]!r}")
    return jobs[0][1]


def may_change(caller: Caller) -> None:
    """Raises NotAllowed when the caller's credential may only look or only submit."""
    if caller.scope is not Scope.FULL:
        raise NotAllowed(f"this token's scope is {caller.scope.value!r}; this needs 'full'")


def may_submit(caller: Caller) -> None:
    """Raises NotAllowed when the caller's credential may only look."""
    if caller.scope is Scope.READ:
        raise NotAllowed("this token's scope is 'read'; this needs 'submit' or 'full'")
