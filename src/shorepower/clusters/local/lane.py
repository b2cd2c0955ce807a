"""A lane runs tasks of an array one after another, under one grant, in a thread of its own.

Between two short tasks nobody else is asked: no other thread, no event loop. Whatever is not short and
plain (it takes longer than `SHORT_S`, left something behind, lost its fence, could not be started) is
handed to the event loop as it stands and goes the way of every job; the lane ends with it.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog

from ...host.contract import Spawned, SpawnLater
from ...host.families import Family
from ...model.lifecycle import Observation
from ...model.usage import Usage
from ..contract import Order
from ..records import Fence
from ..spool import Part
from .array import LocalArray, task_name, task_order
from .job import Site, end_seen, marks_of
from .outcome import end_of
from .queue import Grant
from .start import nice_of, planned, prepare

__all__ = ["SHORT_S", "TURN_S", "Lane", "Unfinished", "clear"]

log = structlog.get_logger(__name__)

SHORT_S = 0.02
"""A task that takes longer is told to run."""
TURN_S = 0.1
"""After that the queue decides anew who has the next turn."""
_OF_SIGNAL_9 = 128 + 9


class Lane:
    """One turn of an array."""

    def __init__(
        self, site: Site, array: LocalArray, grant: Grant, tell: Callable[[Lane, bool], None]
    ) -> None:
        """``tell`` is called on the event loop, outside of any task: with False when there are letters, and
        once with True when it is over."""
        self.site, self.array, self.grant = site, array, grant
        self.letters: deque[tuple[Observation, str, Family]] = deque()
        """Ends to be told, each with the name and the family of its task."""
        self.unfinished: Unfinished | None = None
        """The task it is at; once it is over, what goes the way of every job, with the lane's grant."""
        self.fault: BaseException | None = None
        """What broke it off."""
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._told = False

    def start(self) -> None:
        """Raises RuntimeError when there can be no more threads."""
        threading.Thread(target=self._run, name=f"lane {self.array.name}", daemon=True).start()

    def _run(self) -> None:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())  # inherited by what is started
            self._turn()
        except BaseException as fault:  # the records say how far it got
            self.fault = fault
        self._on_loop(self._tell, self, True)

    def _turn(self) -> None:
        until = time.monotonic() + TURN_S
        while not self.site.closing and time.monotonic() < until:
            task = self.array.take()
            if task is None:
                return
            self.unfinished = Unfinished(task_order(self.array.order, task))
            if not self._see_through(self.unfinished, task):
                return
            self.unfinished = None

    def _see_through(self, left: Unfinished, task: int) -> bool:
        """Whether it ended, and its end is among the letters."""
        part = self.site.spool.part(left.order.submission, task, 0)
        try:
            left.order = planned(left.order)
            left.spawned = spawned = self._start(left.order, part)
        except Exception:  # tried again, and explained, where every job is started
            return False
        if not _ends_within(spawned, SHORT_S):
            return False
        try:
            seen = part.evidence()
        except Exception:
            return False
        if not _is_of(seen.fence, spawned) or seen.exit is None or seen.exit.code == _OF_SIGNAL_9:
            return False
        reaped = self.site.host.reap(spawned)
        if reaped is not None:
            left.usage = Usage(
                cpu_time_s=reaped.cpu_time_s, peak_memory_mib=reaped.largest_process_mib or 0.0
            )
        if reaped is None or _is_left(spawned.pid):
            return False
        left.let_go()
        clear(left.order, part)
        as_of = self.site.clock.now().timestamp()
        end = end_seen(left.order, as_of, self.site.hostname, end_of(seen.exit, None), left.usage)
        marks = marks_of(left.order)
        family = Family(leader=spawned.pid, start_time=spawned.start_time, marks=marks)
        self.letters.append((end, task_name(left.order.submission, task), family))
        if not self._told:
            self._told = True
            self._on_loop(self._fetch)
        return True

    def _start(self, order: Order, part: Part) -> Spawned:
        make = partial(prepare, self.site, order, self.grant, part)
        return self.site.host.spawn_here(SpawnLater(make=make, nice=nice_of(self.site, order)))

    def _fetch(self) -> None:
        self._told = False
        self._tell(self, False)

    def _on_loop(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the server has ended: the next one reads the records
            if self.unfinished is not None:
                self.unfinished.let_go()


class Unfinished:
    """A task that a lane could not see through, as far as it got."""

    def __init__(self, order: Order) -> None:
        self.order = order
        """Of the one task."""
        self.spawned: Spawned | None = None
        """None: it was not started, or nothing is left to wait for: the records tell."""
        self.usage = Usage()

    def let_go(self) -> None:
        """Nobody waits for it here any more."""
        spawned, self.spawned = self.spawned, None
        if spawned is not None:
            os.close(spawned.pidfd)


def clear(order: Order, part: Part) -> None:
    """A task of an array has ended: what it did not write itself goes. Blocking; never raises."""
    assert order.each is not None
    try:
        order.each.clear(part.task)
        part.drop_empty()
    except Exception as fault:  # it stays until the working folder goes
        log.warning("a task's folder was not cleared", submission=order.submission, cause=str(fault))


def _ends_within(spawned: Spawned, limit_s: float) -> bool:
    waiting = select.poll()
    waiting.register(spawned.pidfd, select.POLLIN)
    return bool(waiting.poll(limit_s * 1000))


def _is_of(fence: Fence | None, spawned: Spawned) -> bool:
    return fence is not None and (fence.pid, fence.start_time) == (spawned.pid, spawned.start_time)


def _is_left(group: int) -> bool:
    """Whether anything of a reaped wrapper's group lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
