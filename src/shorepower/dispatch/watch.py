"""News comes back: what clusters see is folded into what is recorded, in batches."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

import anyio
import structlog
from anyio import CapacityLimiter, create_task_group, to_thread
from anyio.abc import TaskStatus
from msgspec import Struct
from msgspec.structs import replace

from ..clusters.contract import Cluster
from ..host.contract import Clock
from ..model.cluster import ClusterInfo
from ..model.errors import ShorepowerError
from ..model.job import split_submission_id
from ..model.lifecycle import Observation
from ..model.results import ResultsState
from ..store.contract import Store
from .fold import fold
from .leftovers import Leftovers
from .news import News, Waiter
from .places import DispatchSettings, Places
from .prepare import is_untouched
from .task_metrics import MetricsReader

__all__ = ["Standing", "Watch"]

log = structlog.get_logger(__name__)

_AT_ONCE = 32


class Standing:
    """The last known information of each cluster, and since when one does not answer."""

    def __init__(self, clusters: Sequence[str]) -> None:
        self.infos = {name: ClusterInfo(name=name, type="") for name in clusters}

    def answered(self, info: ClusterInfo, now: datetime) -> None:
        """Fresh information came."""
        self.infos[info.name] = replace(info, as_of=now, stale_since=None, why_stale="")

    def silent(self, name: str, why: str, now: datetime) -> None:
        """No answer: what is known stays, marked since when."""
        known = self.infos[name]
        self.infos[name] = replace(known, stale_since=known.stale_since or now, why_stale=why)


class Left(Struct, frozen=True, kw_only=True):
    """What lies in the state directory of submissions that ended."""

    arrays: frozenset[str] = frozenset()
    """Those that are arrays."""
    untouched: frozenset[str] = frozenset()
    """Those whose working folder is empty, and of no use any more once that is recorded."""
    secrets: frozenset[str] = frozenset()
    """Jobs that have some."""


class Watch:
    """Watches one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        standing: Standing,
        places: Places,
        settings: DispatchSettings,
        clock: Clock,
        news: News,
    ) -> None:
        self._cluster, self._store, self._standing = cluster, store, standing
        self._places, self._settings, self._clock, self._news = places, settings, clock, news
        self._disk = CapacityLimiter(1)
        self._metrics = MetricsReader(store, places)
        self._leftovers = Leftovers(store, places)
        self._empty: list[str] = []
        """Working folders to be taken away; what a crash leaves of them is swept at the next start."""
        self._useless = Waiter()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Fold news in until cancelled. A store that refuses is tried again: no news is lost."""
        async with create_task_group() as tg:
            tg.start_soon(self._clear_up)
            task_status.started()
            async for seen in self._cluster.watch():
                if seen:
                    await self._keep(seen)

    async def _keep(self, seen: Sequence[Observation]) -> None:
        wait_s = self._settings.retry_first_s
        left = await self._look({one.submission for one in seen if one.state.ended})
        while True:
            try:
                metrics = await self._metrics.read(one for one in seen if one.submission in left.arrays)
                now = self._clock.now()
                folding = partial(fold, news=seen, now=now, untouched=left.untouched, metrics=metrics)
                changed = await self._store.write(folding)
                break
            except ShorepowerError as fault:
                log.warning("news could not be recorded; trying again", cause=type(fault).__name__)
                await anyio.sleep(wait_s)
                wait_s = min(wait_s * 2, self._settings.retry_most_s)
        if any(job.results.state is ResultsState.SAVING for job in changed):
            self._news.tell("saving")
        await self._leftovers.drop_secrets(job for job in changed if job.id in left.secrets)
        without = {job.id for job in changed if job.results.state is ResultsState.NONE}
        self._empty += [name for name in left.untouched if split_submission_id(name)[0] in without]
        if self._empty:
            self._useless.wake()

    async def _clear_up(self) -> None:
        """Take empty working folders away. Nothing waits for it: that can take long, as each removal may
        wait for the disk."""
        while True:
            await self._useless.wait(self._settings.retry_most_s)
            while self._empty:
                names, self._empty = self._empty[:_AT_ONCE], self._empty[_AT_ONCE:]
                await self._leftovers.drop_empty(names)

    async def _look(self, ended: Collection[str]) -> Left:
        def look() -> Left:
            above, secrets = str(self._places.work("")), str(self._places.secrets)
            works = {name: os.path.join(above, name) for name in ended}  # noqa: PTH118 - speed
            arrays = frozenset(name for name, work in works.items() if os.path.isdir(f"{work}/tasks"))  # noqa: PTH112
            plain = ((name, work) for name, work in works.items() if name not in arrays)
            jobs = {split_submission_id(name)[0] for name in ended}
            return Left(
                arrays=arrays,
                untouched=frozenset(name for name, work in plain if is_untouched(work)),
                secrets=frozenset(job for job in jobs if os.path.exists(f"{secrets}/{job}")),  # noqa: PTH110
            )

        return await to_thread.run_sync(look, limiter=self._disk) if ended else Left()

    async def keep_informed(self) -> None:
        """Ask for the cluster's information now and then, until cancelled."""
        while True:
            await self.inform()
            await anyio.sleep(self._settings.info_period_s)

    async def inform(self) -> None:
        """Ask once."""
        try:
            info = await self._cluster.info()
        except ShorepowerError as fault:
            self._standing.silent(self._cluster.name, str(fault), self._clock.now())
        else:
            self._standing.answered(info, self._clock.now())
