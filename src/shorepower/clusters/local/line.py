"""The jobs that wait: who starts when something is free, and what the others are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import anyio

from ...host.contract import Clock
from ...model.lifecycle import Reason
from ...model.resources import format_memory
from .job import Settings
from .machine import Machine, Pressure
from .queue import Demand, Grant, Queue, Waiting

__all__ = ["Line", "why_waiting"]

_SHOWN = 100
"""So many of the first in line are told their place whenever it changes; those behind are told once."""
_TOLD_AT_ONCE = 500
_SETTLE_S = 0.05
"""What starts at once is not told that it waits."""
_MEMORY_HOLDS_S = 0.25


class InLine(Protocol):
    """A job that waits, or an array of which a task waits."""

    ahead: int
    said: tuple[str, str]

    @property
    def name(self) -> str: ...
    @property
    def demand(self) -> Demand: ...


class Line:
    """Takes jobs in, starts them in turn, explains."""

    def __init__(
        self,
        machine: Machine,
        settings: Settings,
        clock: Clock,
        pressure: Callable[[], Pressure],
        crowded: Callable[[], bool],
        launch: Callable[[InLine, Grant], None],
        tell: Callable[[InLine, Reason, str], None],
    ) -> None:
        """While ``crowded`` or short of memory nothing is launched."""
        self.queue = Queue(machine, settings.patience_s)
        self._settings, self._clock = settings, clock
        self._crowded, self._launch, self._tell = crowded, launch, tell
        self._jobs: dict[str, InLine] = {}
        self._unsaid: dict[str, None] = {}
        self._free = anyio.Event()
        self._waiting = anyio.Event()
        self._pressure, self._pressure_at = pressure, float("-inf")
        self._memory = Pressure(1.0, 1.0)

    def add(self, job: InLine, place: int | None = None) -> int:
        """Stand at the end, or in the ``place`` that an array had; the place."""
        if place is None:
            job.ahead = len(self.queue)
            self._unsaid[job.name] = None
        self._jobs[job.name] = job
        self._free.set()
        self._waiting.set()
        return self.queue.add(job.name, job.demand, place)

    def withdraw(self, job: InLine) -> None:
        """It will not start; harmless for one that is not in line."""
        if self.queue.remove(job.name):
            self._drop(job.name)

    def give_back(self, grant: Grant) -> None:
        """A job ended."""
        self.queue.give_back(grant)
        self._free.set()

    async def start(self) -> None:
        """Start whoever may, until cancelled."""
        while True:
            await self._free.wait()
            self._free = anyio.Event()
            if self.queue and (self._crowded() or self._short_of_memory()):
                await anyio.sleep(self._settings.period_s)
                self._free.set()
                continue
            now = self._clock.steady()
            while (taken := self.queue.take(now)) is not None:
                name, grant = taken
                self._launch(self._drop(name), grant)

    async def explain(self) -> None:
        """Tell those who wait why, until cancelled."""
        while True:
            await self._waiting.wait()
            await anyio.sleep(_SETTLE_S)
            self._explain()
            if not self.queue:
                self._waiting = anyio.Event()
            await anyio.sleep(self._settings.period_s)
            self._free.set()  # patience may be over

    def _explain(self) -> None:
        short = bool(self.queue) and self._short_of_memory()
        for waiting in self.queue.first(_SHOWN):
            why = _pressed(self._memory) if short else why_waiting(waiting)
            self._say(waiting.name, why)
        for name in [name for name, _ in zip(self._unsaid, range(_TOLD_AT_ONCE), strict=False)]:
            self._say(name, _behind(self._jobs[name].ahead))

    def _say(self, name: str, why: tuple[Reason, str]) -> None:
        self._unsaid.pop(name, None)
        job = self._jobs[name]
        if job.said != why:
            job.said = why
            self._tell(job, *why)

    def _drop(self, name: str) -> InLine:
        self._unsaid.pop(name, None)
        return self._jobs.pop(name)

    def _short_of_memory(self) -> bool:
        now = self._clock.steady()
        if now - self._pressure_at > _MEMORY_HOLDS_S:
            self._memory, self._pressure_at = self._pressure(), now
        return self._memory.short


def why_waiting(waiting: Waiting) -> tuple[Reason, str]:
    """For one of the first in line."""
    if waiting.never:
        return Reason.RESOURCES, f"it {waiting.missing}, so it cannot start here"
    place = "next in line" if waiting.place == 1 else f"number {waiting.place} in line"
    if waiting.missing:
        return Reason.RESOURCES, f"{place}; needs {waiting.missing}"
    return Reason.QUEUED, place


def _behind(ahead: int) -> tuple[Reason, str]:
    return Reason.QUEUED, f"in line; {ahead} were ahead of it when it was queued"


def _pressed(memory: Pressure) -> tuple[Reason, str]:
    available, total = format_memory(memory.available_mib), format_memory(memory.total_mib)
    why = f"only {available} of {total} of memory are available; nothing starts below 5 %"
    return Reason.MEMORY_PRESSURE, why
