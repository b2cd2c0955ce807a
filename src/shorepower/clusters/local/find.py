"""Where an attempt stands, told by its records and by what runs. Blocking."""

from __future__ import annotations

import os
import time
from datetime import datetime

from msgspec import Struct

from ...host.contract import Spawned
from ...host.disk import boot_id
from ...host.families import Families, Family
from ...host.processes import find, held, uptime_cs
from ...model.errors import Unreachable
from ..contract import Order
from ..records import Fence, Note
from ..spool import Evidence, Part
from .job import marks_of
from .outcome import End, end_of, forbidden, without_record

__all__ = ["Alive", "find_out"]

_START_TAKES_S = 2.0
_LOOK_AGAIN_S = 0.02
_CLOCK_SLACK_S = 2.0


class Alive(Struct, frozen=True, kw_only=True):
    """A wrapper that lives."""

    wrapper: Spawned
    """The receiver closes its pidfd."""
    fence: Fence
    note: Note | None
    stopped: bool
    """It is suspended."""


def find_out(part: Part, order: Order, families: Families, now: datetime) -> End | Alive | None:
    """How it ended; its living wrapper; or None: it was never started.

    Raises UnknownRecord, OSError, and Unreachable while a start is just happening.
    """
    deadline = time.monotonic() + _START_TAKES_S
    while True:
        seen = part.evidence()
        if not seen.fenced:
            return None
        if seen.fence is not None:
            return _of(part, seen, seen.fence, now)
        # The fence was created, but what is in it was not written. Is somebody about to?
        family = Family(leader=0, start_time=0, marks=marks_of(order))
        name = f"{part.submission}.{part.task}"
        if not families.sort({name: family})[name]:
            again = part.evidence()
            if again.fence is None:
                return without_record(again, now, same_boot=_since_boot(again.fenced_at))
        elif time.monotonic() > deadline:
            raise Unreachable("its wrapper has begun but has not yet said so")
        time.sleep(_LOOK_AGAIN_S)


def _of(part: Part, seen: Evidence, fence: Fence, now: datetime) -> End | Alive:
    if fence.forbidden is not None:
        return forbidden(fence.forbidden, fence.at)
    if seen.exit is not None:
        return end_of(seen.exit, seen.note)
    if fence.boot != boot_id():
        return without_record(seen, now, same_boot=False)
    if (alive := _alive(fence, seen.note)) is not None:
        return alive
    last = part.evidence()  # it may have ended between the two looks
    if last.exit is not None:
        return end_of(last.exit, last.note)
    return without_record(last, now, same_boot=True)


def _alive(fence: Fence, note: Note | None) -> Alive | None:
    with held(fence.pid, fence.start_time) as pidfd:
        found = find(fence.pid, fence.start_time)
        if pidfd is None or found is None:
            return None
        wrapper = Spawned(pid=fence.pid, start_time=fence.start_time, pidfd=os.dup(pidfd))
        return Alive(wrapper=wrapper, fence=fence, note=note, stopped=found.stopped)


def _since_boot(at: float) -> bool:
    """Whether a file was last changed since this machine was started, by its clock."""
    return at > time.time() - uptime_cs() / 100 + _CLOCK_SLACK_S
