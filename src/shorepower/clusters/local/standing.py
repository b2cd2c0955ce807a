"""Where an array stands, told by its records and by what runs."""

from __future__ import annotations

import os

import structlog

from ...model.errors import Unreachable
from ...model.lifecycle import Reason
from ...model.tasks import TaskSet
from ..contract import Order
from ..records import Refusal, UnknownRecord
from .array import task_order
from .find import Alive, find_out
from .job import Site, only_task
from .lane import clear
from .outcome import End, forbidden

__all__ = ["Standing", "keep_from_starting", "look_at"]

log = structlog.get_logger(__name__)


class Standing:
    """What the records say of an array; without any: nothing of it has begun."""

    def __init__(self) -> None:
        self.found: dict[int, End | Alive] = {}
        """Tasks that began, or were kept from it one by one. The receiver closes their pidfds."""
        self.refused: list[Refusal] = []
        self.late: set[int] = set()
        """Tasks that were about to begin, and may still."""

    def let_go(self) -> None:
        """Nobody waits for what was found."""
        for what in self.found.values():
            if isinstance(what, Alive):
                os.close(what.wrapper.pidfd)

    def lives(self, order: Order) -> bool:
        """Whether one of the tasks may not have ended."""
        left = order.tasks - order.ended - TaskSet.of(self.found)
        for refusal in self.refused:
            left = left - refusal.tasks
        return bool(left) or any(isinstance(what, Alive) for what in self.found.values())


def look_at(site: Site, order: Order) -> Standing:
    """What is found of those tasks whose end is not known above; these are cleared. Blocking.

    Raises UnknownRecord, OSError, and Unreachable while a start is just happening.
    """
    now, seen = site.clock.now(), Standing()
    try:
        fenced, opened = site.spool.begun_tasks(order.submission)
        seen.late = opened - fenced
        for task in sorted(fenced):
            if task in order.ended or task not in order.tasks:
                continue
            part = site.spool.part(order.submission, task, 0)
            what = find_out(part, task_order(order, task), site.families, now)
            if what is not None:
                seen.found[task] = what
            if isinstance(what, End):
                clear(order, part)
        seen.refused = site.spool.refused(order.submission)
    except BaseException:
        seen.let_go()
        raise
    return seen


def keep_from_starting(site: Site, order: Order, cause: Reason) -> End | Alive | None:
    """The end of one task that never starts now; or how it stands if it had been started; or None: that
    cannot be told. Blocking."""
    part, now = site.spool.part(order.submission, only_task(order.tasks), 0), site.clock.now()
    found: End | Alive | None = forbidden(cause, now)
    try:
        if not part.forbid(cause, now):
            found = None
            found = find_out(part, order, site.families, now)
    except (UnknownRecord, Unreachable) as fault:
        log.warning("where a task stands is unknown", submission=order.submission, cause=str(fault))
        return None
    except OSError as fault:  # a full disk keeps nobody from stopping tasks that wait
        log.warning("a stop was not written into the spool", submission=order.submission, cause=str(fault))
    if isinstance(found, End):
        clear(order, part)
    return found
