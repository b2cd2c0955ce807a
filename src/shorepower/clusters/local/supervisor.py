"""Sees one attempt through: starts it or takes it over, waits for its end, clears up, tells."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import anyio
import structlog
from msgspec.structs import replace

from ...host.processes import uptime_cs
from ...model.errors import (
    Busy,
    InvalidRequest,
    NotAllowed,
    StateDirectoryFault,
    StorageFault,
    Unreachable,
)
from ...model.lifecycle import Reason, State
from ...model.resources import format_memory
from ..records import Exit, Fence, Launch, UnknownRecord
from ..spool import Evidence
from .find import find_out
from .job import LocalJob, Site, Stage
from .lane import clear
from .leftovers import clear_up
from .machine import oom_kills
from .outcome import End, end_of, forbidden, without_record
from .queue import Demand, Grant
from .start import TRANSIENT, start
from .trim import trim

__all__ = ["Supervisor"]

log = structlog.get_logger(__name__)
T = TypeVar("T")

_FIRST_LOOK_S = 0.02
"""Jobs shorter than this are told of once, at their end."""
_RETRY_MOST_S = 5.0
_KILLED = 128 + 9


class Supervisor:
    """For all attempts of one cluster; it keeps nothing of its own."""

    def __init__(
        self,
        site: Site,
        give_back: Callable[[Grant], None],
        hold: Callable[[Demand, tuple[str, ...]], Grant],
    ) -> None:
        self._site, self._give_back, self._hold = site, give_back, hold

    async def see_through(self, job: LocalJob) -> None:
        """From wherever it stands to its end, told. Cancelled, it leaves the job running."""
        try:
            end = await self._try(job)
        finally:
            self._let_go(job)
        self._release(job)
        if job.order.each is not None:
            await self._site.file_work(clear, job.order, job.part)
        job.stage = Stage.ENDED
        job.spawned.set()
        job.gone.set()
        job.wake()
        self._site.mail.put(job.seen_end(self._site.clock, self._site.hostname, end))

    async def _try(self, job: LocalJob) -> End:
        """Whatever nobody foresaw must not take the other jobs down: the records say where to go on."""
        while True:
            try:
                if job.wrapper is None and job.stage is Stage.RUNNING:
                    found = await self._find_again(job)
                    if found is not None:
                        return found
                return await self._run(job)
            except UnknownRecord as fault:
                now = self._site.clock.now()
                return End(state=State.FAILED, reason=Reason.LOST, why=str(fault), ended_at=now)
            except Exception:
                log.exception("a job is looked for again", job=job.name)
                self._let_go(job)
            await anyio.sleep(_RETRY_MOST_S)

    async def _run(self, job: LocalJob) -> End:
        if job.wrapper is None:
            not_started = await self._start(job)
            if not_started is not None:
                return not_started
        job.spawned.set()
        while True:
            await self._wait(job)
            left = self._reap(job)
            if not left:
                self._release(job)  # the next may start while we still read
            seen = await self._patiently(job, self._last_evidence, job)
            if not _by_another(seen.fence, job):
                break
            self._let_go(job)
            found = await self._find_again(job)  # we lost the fence: follow who won it
            if found is not None:
                return found
        job.gone.set()
        job.wake()
        end = await self._conclude(job, seen)
        lost = end.exit_code is None
        if left and not lost and job.started_at is None and seen.fence is not None:
            self.tell_running(job, seen.fence)  # nobody need think that it waits until the rest has ended
        if left or lost or job.ending is not None:
            await clear_up(self._site, job, lost=lost)
        return end

    async def _find_again(self, job: LocalJob) -> End | None:
        """None: it has a wrapper, whoever started it."""
        now = self._site.clock.now()
        found = await self._patiently(job, find_out, job.part, job.order, self._site.families, now)
        if found is None:
            return self._not_started("its records are gone")
        if isinstance(found, End):
            return found
        job.hold(found.wrapper)
        self._release(job)
        job.grant = self._hold(job.demand, found.fence.gpus)
        return None

    def _release(self, job: LocalJob) -> None:
        if job.grant is not None:
            self._give_back(job.grant)
            job.grant = None

    @staticmethod
    def _let_go(job: LocalJob) -> None:
        if job.wrapper is not None:
            os.close(job.wrapper.pidfd)
            job.wrapper = None

    async def _start(self, job: LocalJob) -> End | None:
        """None: it has a wrapper now."""
        wait_s = 0.1
        job.oom_before = self._site.oom_kills
        while True:
            try:
                job.hold(await start(self._site, job))
            except OSError as fault:
                if fault.errno not in TRANSIENT:
                    return self._not_started(f"it could not be started: {_why(fault)}")
                self._tell_wait(job, f"this machine cannot start a process now ({fault.strerror})")
            except (StorageFault, Busy, Unreachable) as fault:  # if it has begun, its fence says so
                self._tell_wait(job, str(fault))
            except (StateDirectoryFault, InvalidRequest, NotAllowed, ValueError) as fault:
                return self._not_started(f"it could not be started: {fault}")
            else:
                job.stage = Stage.RUNNING
                self._site.tails.begun(job.part)
                return None
            if job.ending is not None:
                now = self._site.clock.now()
                if await self._site.file_work(job.part.forbid, job.ending.cause, now):
                    return forbidden(job.ending.cause, now)
            await job.wait_woken(wait_s)
            wait_s = min(wait_s * 2, _RETRY_MOST_S)

    def _not_started(self, why: str) -> End:
        now = self._site.clock.now()
        return End(state=State.FAILED, reason=Reason.LAUNCH, why=why, ended_at=now)

    def _tell_wait(self, job: LocalJob, why: str) -> None:
        if job.said != (Reason.RESOURCES, why):
            job.said = (Reason.RESOURCES, why)
            seen = job.seen(self._site.clock, self._site.hostname, State.PENDING, Reason.RESOURCES, why)
            self._site.mail.put(seen)

    async def _wait(self, job: LocalJob) -> None:
        """Until the wrapper has ended. That the job runs is told once the fence says so."""
        assert job.wrapper is not None
        wait_s = _FIRST_LOOK_S
        while job.started_at is None:
            with anyio.move_on_after(wait_s):
                await anyio.wait_readable(job.wrapper.pidfd)
                return
            seen = await self._patiently(job, job.part.evidence)
            if seen.fence is not None and not _by_another(seen.fence, job):
                self.tell_running(job, seen.fence)
            wait_s = min(wait_s * 2, 1.0)
        await anyio.wait_readable(job.wrapper.pidfd)

    def tell_running(self, job: LocalJob, fence: Fence) -> None:
        """The fence is taken: it runs."""
        job.started_at = fence.at
        if limit_s := job.order.resources.wall_time_s:
            passed_s = (self._site.clock.now() - fence.at).total_seconds()
            job.deadline = self._site.clock.steady() + limit_s - max(0.0, passed_s)
        state = State.SUSPENDED if job.suspended else State.RUNNING
        self._site.mail.put(job.seen(self._site.clock, self._site.hostname, state))

    def _reap(self, job: LocalJob) -> bool:
        """Take the wrapper's end; whether something of its group is left.

        While anything is left in the group its number is not given out again. Source: kernel/pid.c,
        a number is freed when no process, group or session has it any more.
        """
        assert job.wrapper is not None
        reaped = self._site.host.reap(job.wrapper)
        if reaped is None:
            return True  # somebody else's child: look closely
        job.exit_code = reaped.exit_code
        job.usage = replace(
            job.usage,
            cpu_time_s=max(job.usage.cpu_time_s, reaped.cpu_time_s),
            peak_memory_mib=max(job.usage.peak_memory_mib, reaped.largest_process_mib or 0.0),
        )
        try:
            os.killpg(job.wrapper.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # there is something, of another user
            return True
        return True

    def _last_evidence(self, job: LocalJob) -> Evidence:
        try:
            trim(job.part, self._site.settings.output_limit_bytes)
        except OSError as fault:
            log.warning("old output was not given back", job=job.name, cause=str(fault))
        return job.part.evidence()

    async def _conclude(self, job: LocalJob, seen: Evidence) -> End:
        now = self._site.clock.now()
        if seen.note is None and job.ending is not None:  # the disk was too full for a note
            seen = replace(seen, note=job.ending.note(now))
        record = seen.exit or _from_the_kernel(job, now)
        if record is None:
            return without_record(seen, now, same_boot=True)
        starved = False
        if record.code == _KILLED and seen.note is None:
            self._site.oom_kills = await self._site.file_work(oom_kills)
            starved = self._site.oom_kills > job.oom_before
        return _told_amounts(end_of(record, seen.note, out_of_memory=starved), job)

    async def _patiently(self, job: LocalJob, work: Callable[..., T], *args: object) -> T:
        """File work, again and again while the file system does not let us."""
        wait_s = 0.1
        while True:
            try:
                return await self._site.file_work(work, *args)
            except (OSError, Unreachable) as fault:
                log.warning("records not readable; trying again", job=job.name, cause=str(fault))
            await anyio.sleep(wait_s)
            wait_s = min(wait_s * 2, _RETRY_MOST_S)


def _told_amounts(end: End, job: LocalJob) -> End:
    """Of one that was out of memory: what it asked for, and what it was seen to reach."""
    asked_mib = job.order.resources.memory_mib
    if end.reason is not Reason.OUT_OF_MEMORY or not asked_mib:
        return end
    reached = format_memory(job.too_much_mib or job.usage.peak_memory_mib)
    return replace(end, why=f"asked {format_memory(asked_mib)}, reached {reached} when it was ended")


def _from_the_kernel(job: LocalJob, now: datetime) -> Exit | None:
    """The wrapper passes the exit code on: so it is not lost although somebody removed the records."""
    if job.started_at is None or job.exit_code is None or job.exit_code < 0:
        return None
    return Exit(
        pid=0,
        start_time=0,
        code=job.exit_code,
        launch=Launch.NOTHING,
        began_at=job.started_at,
        at=now,
        up_cs=uptime_cs(),
    )


def _by_another(fence: Fence | None, job: LocalJob) -> bool:
    wrapper = job.wrapper
    assert wrapper is not None
    return fence is not None and (fence.pid, fence.start_time) != (wrapper.pid, wrapper.start_time)


def _why(fault: OSError) -> str:
    return f"{fault.strerror}: {fault.filename}" if fault.filename else fault.strerror or str(fault)
