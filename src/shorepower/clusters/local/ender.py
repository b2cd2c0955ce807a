"""Operations on a running attempt: stop, kill, suspend, resume; and its time limit."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import structlog

from ...host.processes import uptime_cs
from ...model.errors import InvalidRequest, Unreachable
from ...model.lifecycle import Reason, State
from ..records import Note
from .job import Ending, LocalJob, Site, Stage

__all__ = ["AT_ONCE", "Ender"]

log = structlog.get_logger(__name__)

_START_TAKES_S = 5.0
_FIRST_SIGNAL_S = 2.0
_HUNDREDTH_S = 0.01
_LOOK_AGAIN_S = 0.05
_KILL_AGAIN_S = 0.5
AT_ONCE = (Reason.KILLED, Reason.OUT_OF_MEMORY)
"""Causes that leave no time to clear up."""


class Ender:
    """Carries operations out, for all attempts of one cluster."""

    def __init__(self, site: Site, begin: Callable[..., object]) -> None:
        self._site, self._begin = site, begin
        """``begin`` starts a task that goes on in the background."""

    async def end(self, job: LocalJob, cause: Reason, grace_s: float) -> None:
        """SIGTERM, and SIGKILL after the grace; SIGKILL at once for a cause in `AT_ONCE`. Repeating it is
        harmless.

        Why is written down before the first signal. Raises Unreachable while a start takes long.
        """
        if job.ending is not None:
            await self._hurry(job, cause)
            return
        clock = self._site.clock
        job.ending = ending = Ending(cause, clock.steady() + grace_s, uptime_cs())
        job.wake()
        begun = False
        try:
            await self._spawned(job)
            if job.stage is Stage.RUNNING:
                await self._note(job)
                self._begin(self.carry_out, job)
                begun = True
        finally:
            if not begun:
                job.ending = None
        if begun:
            with anyio.move_on_after(_FIRST_SIGNAL_S):
                await ending.sent.wait()

    def go_on(self, job: LocalJob, note: Note) -> None:
        """Go on with what a server before this one has begun."""
        passed_s = max(0.0, (self._site.clock.now() - note.at).total_seconds())
        left_s = 0.0 if note.cause in AT_ONCE else max(0.0, job.order.grace_s - passed_s)
        job.ending = Ending(note.cause, self._site.clock.steady() + left_s, note.up_cs)
        self._begin(self.carry_out, job)

    async def suspend(self, job: LocalJob) -> None:
        """Stop every process; the resources stay taken."""
        await self._only_running(job)
        async with job.operating:
            await self._site.tree_work(job.tree(self._site.families).suspend)
            job.suspended = True
            self._tell(job, State.SUSPENDED)

    def go_on_suspending(self, job: LocalJob) -> None:
        """A job found suspended: who suspended it may not have got to the end of it."""
        self._begin(self._suspend_again, job)

    async def _suspend_again(self, job: LocalJob) -> None:
        async with job.operating:
            if job.suspended and job.ending is None and not job.gone.is_set():
                await self._site.tree_work(job.tree(self._site.families).suspend)

    async def resume(self, job: LocalJob) -> None:
        """Let every process go on."""
        await self._only_running(job)
        async with job.operating:
            await self._site.tree_work(job.tree(self._site.families).resume)
            job.suspended = False
            self._tell(job, State.RUNNING)

    async def carry_out(self, job: LocalJob) -> None:
        """End it; returns when its wrapper has ended."""
        ending = job.ending
        assert ending is not None
        if uptime_cs() <= ending.up_cs:
            await anyio.sleep(_HUNDREDTH_S)  # so that the records tell who was first
        if ending.cause not in AT_ONCE:
            await self._terminate(job, ending)
        clock, period_s = self._site.clock, self._site.settings.period_s
        while not job.gone.is_set() and (left_s := ending.kill_at - clock.steady()) > 0:
            await job.wait_woken(min(left_s, period_s))
        await self._kill(job, ending)

    async def _terminate(self, job: LocalJob, ending: Ending) -> None:
        """Every process there is gets one SIGTERM; what it starts to clear up with gets none."""
        while not job.gone.is_set():
            async with job.operating:
                reached = await self._site.tree_work(job.tree(self._site.families).terminate)
                job.suspended = False
            ending.sent.set()
            if reached:
                return
            await job.wait_woken(_LOOK_AGAIN_S)  # the wrapper has not got as far as the program

    async def _kill(self, job: LocalJob, ending: Ending) -> None:
        enough = anyio.current_time() + self._site.settings.wrapper_grace_s
        wait_s = _LOOK_AGAIN_S
        while not job.gone.is_set():
            async with job.operating:
                await self._site.tree_work(job.tree(self._site.families).kill)
                ending.sent.set()
                if anyio.current_time() > enough:
                    await self._site.tree_work(job.tree(self._site.families).kill_wrapper)
            await job.wait_woken(wait_s)
            wait_s = min(wait_s * 2, _KILL_AGAIN_S)
        ending.sent.set()

    async def _hurry(self, job: LocalJob, cause: Reason) -> None:
        """KILLED cuts the grace of a stop short."""
        ending = job.ending
        assert ending is not None
        if cause is not Reason.KILLED or ending.cause is Reason.KILLED:
            return
        ending.kill_at = self._site.clock.steady()
        if ending.cause is Reason.STOPPED:
            ending.cause = cause
            await self._note(job)
        job.wake()

    async def _note(self, job: LocalJob) -> None:
        assert job.ending is not None
        try:
            await self._site.file_work(job.part.write_note, job.ending.note(self._site.clock.now()))
        except OSError as fault:  # a full disk keeps nobody from stopping a job
            log.warning("why a job is ended could not be written down", job=job.name, cause=str(fault))

    async def _only_running(self, job: LocalJob) -> None:
        if job.stage is Stage.WAITING:
            raise InvalidRequest("it has not started; only a running job can be suspended or resumed")
        if job.ending is not None:
            raise InvalidRequest("it is being ended; it can no longer be suspended or resumed")
        await self._spawned(job)

    @staticmethod
    async def _spawned(job: LocalJob) -> None:
        try:
            with anyio.fail_after(_START_TAKES_S):
                await job.spawned.wait()
        except TimeoutError:
            raise Unreachable("it is just being started; try again") from None

    def _tell(self, job: LocalJob, state: State) -> None:
        if job.started_at is not None and not job.gone.is_set():
            self._site.mail.put(job.seen(self._site.clock, self._site.hostname, state))
