"""Why a job is held: what it comes after, and the moment before which it does not start.

Runs inside a unit of work, on what is recorded.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from ..model.array import Numbering, Range
from ..model.chunks import meaning_of
from ..model.dependency import Dependency, Want, is_met, is_never_met
from ..model.errors import Fault
from ..model.job import Job, JobSpec
from ..model.lifecycle import Reason, State
from ..model.names import shown
from ..store.contract import Snapshot
from .ledger import Ledger

__all__ = ["Hold", "dependency_faults", "hold_of"]

_SHORT = 5
"""Letters of an id that people are shown."""
_VERB = {Want.START: "to start", Want.OK: "to complete", Want.ANY: "to end"}


class Hold(Struct, frozen=True, kw_only=True):
    """Why a job is not due."""

    reason: Reason
    why: str
    never: bool = False
    """It cannot become due any more."""


def hold_of(view: Snapshot, spec: JobSpec, now: datetime) -> Hold | None:
    """None when nothing holds a job of this spec (any more)."""
    waits: list[str] = []
    for one in spec.after:
        job = view.job(one.job)
        state = _state(view, job, one) if job is not None else None
        if state is None:
            if one.wants is Want.OK:
                why = f"job {one.job} is no longer on record, and this was to come after it completed"
                return Hold(reason=Reason.DEPENDENCY, why=why, never=True)
        elif is_never_met(one.wants, state):
            ended = "failed" if state is State.FAILED else "was canceled"
            why = f"{_name(one, job)} {ended}, and this was to come after it completed"
            return Hold(reason=Reason.DEPENDENCY, why=why, never=True)
        elif not is_met(one.wants, state):
            waits.append(f"{_name(one, job)} {_VERB[one.wants]}")
    if waits:
        more = f", and {len(waits) - 1} more" if len(waits) > 1 else ""
        return Hold(reason=Reason.HELD, why=f"waits for {waits[0]}{more}")
    if spec.not_before is not None and spec.not_before > now:
        moment = spec.not_before.astimezone(UTC)
        return Hold(reason=Reason.BEGIN_TIME, why=f"starts not before {moment:%Y-%m-%d %H:%M:%S} UTC")
    return None


def dependency_faults(view: Snapshot, spec: JobSpec, owner: str) -> list[Fault]:
    """What is wrong with what a new job is to come after: jobs that are not the owner's, tasks that are not
    there, ends that can never be."""
    faults = []
    for place, one in enumerate(spec.after):
        job = view.job(one.job)
        state = _state(view, job, one) if job is not None and job.owner == owner else None
        what = one.job if one.task is None else f"{one.job}_{one.task}"
        if job is None or job.owner != owner:
            faults.append(Fault(f"after[{place}]", f"no job {one.job} to come after"))
        elif state is None:
            faults.append(Fault(f"after[{place}]", f"job {one.job} has no task {one.task} to come after"))
        elif is_never_met(one.wants, state):
            sentence = f"{what} has ended ({state}): nothing can come after it completed"
            faults.append(Fault(f"after[{place}]", sentence))
    return faults


def _state(view: Snapshot, job: Job, one: Dependency) -> State | None:
    """Where the job stands, or the task that is meant; None when there is no such task."""
    if one.task is None:
        return job.state
    spec = view.spec(job.id)
    if spec is None or spec.array is None:
        return None
    found = Numbering(spec.array.ranges).positions([Range(one.task, one.task)])
    return meaning_of(Ledger(view, job).letter(next(iter(found))))[0] if found else None


def _name(one: Dependency, job: Job | None) -> str:
    task = "" if one.task is None else f"_{one.task}"
    return f"{one.job[:_SHORT]}{task}" + (f" ({shown(job.name)})" if job is not None else "")
