"""Operations: recorded first, sent to the cluster, sent again until their effect is seen."""

from __future__ import annotations

from functools import partial
from typing import TypeAlias

import structlog
from anyio.abc import TaskStatus
from msgspec import Struct
from msgspec.structs import replace

from ..clusters.contract import Cluster, Order
from ..host.contract import Clock
from ..model.errors import InvalidRequest, ShorepowerError
from ..model.lifecycle import Operation, Phase, State
from ..store.contract import Control, Snapshot, Store, TaskControl, Transaction
from .begun import with_known
from .ledger import Ledger
from .news import News
from .orders import order_of
from .places import DispatchSettings, Places

__all__ = ["Controls"]

log = structlog.get_logger(__name__)


class Controls:
    """Carries out the recorded operations of one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        places: Places,
        settings: DispatchSettings,
        clock: Clock,
        news: News,
    ) -> None:
        self._cluster, self._store, self._places = cluster, store, places
        self._settings, self._clock, self._news = settings, clock, news
        self._sent: dict[Key, Sent] = {}
        """What was last sent."""

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Send what is recorded until cancelled."""
        with self._news.listen(f"control:{self._cluster.name}") as asked:
            task_status.started()
            while True:
                try:
                    left = await self._round()
                except ShorepowerError as fault:
                    log.warning("operations put off", cause=type(fault).__name__)
                    left = 1
                await asked.wait(self._settings.control_repeat_s if left else self._settings.retry_most_s)

    async def _round(self) -> int:
        """Send each control that is new or was sent long ago; how many are still to be seen."""
        wanted = await self._store.read(self._wanted)
        now = self._clock.steady()
        self._sent = {key: sent for one in wanted if (sent := self._sent.get(key := _key(one.control)))}
        for one in wanted:
            sent = self._sent.get(_key(one.control))
            if one.order is None:
                continue
            if not one.order.tasks:
                await self._store.write(partial(self._over, control=one.control))
                continue
            if sent is None or (sent.serial, sent.handle) != (one.control.serial, one.order.handle):
                await self._send(one.control, one.order, now)
            elif now - sent.at >= self._settings.control_repeat_s:
                if one.state is _EFFECT.get(one.control.operation):
                    await self._store.write(partial(self._over, control=one.control))
                else:
                    await self._send(one.control, one.order, now)
        return len(wanted)

    def _wanted(self, view: Snapshot) -> list[Wanted]:
        name = self._cluster.name
        found = []
        for control in (*view.controls(name), *view.task_controls(name)):
            job, spec = view.job(control.job), view.spec(control.job)
            open_ = [
                one for one in view.submissions(control.job) if one.phase in (Phase.HANDING, Phase.HANDED)
            ]
            if job is not None and spec is not None:
                order = order_of(job, spec, open_[-1], self._places) if open_ else None
                order = with_known(view, order) if order is not None else None
                if order is not None and isinstance(control, TaskControl):
                    order = replace(order, tasks=Ledger(view, job).living(control.tasks))
                found.append(Wanted(control=control, state=job.state, order=order))
        return found

    async def _send(self, control: Control | TaskControl, order: Order, now: float) -> None:
        try:
            await self._cluster.control(order, control.operation)
        except InvalidRequest as refusal:
            await self._store.write(partial(self._over, control=control, why=str(refusal)))
        except Exception as fault:  # whatever a backend says: it is asked for until it is seen
            log.warning("operation not sent; trying again", job=control.job, cause=type(fault).__name__)
            return
        self._sent[_key(control)] = Sent(serial=control.serial, handle=order.handle, at=now)

    def _over(self, tx: Transaction, *, control: Control | TaskControl, why: str | None = None) -> None:
        """Nothing more is to be done: it cannot be (``why``), or it is so already and was never news."""
        if isinstance(control, TaskControl):
            tx.drop_task_control(control.job, control.serial)
            return
        tx.drop_control(control.job, control.serial)
        job = tx.job(control.job)
        if job is not None and job.wanted is control.operation and not job.state.ended:
            told = tx.update_job(replace(job, wanted=None, why=job.why if why is None else why))
            tx.append_event(self._clock.now(), "job.control", told, {"wanted": None, "why": told.why})


Key: TypeAlias = tuple[str, Operation | None]
"""A job, and the operation if it is one on some of its tasks."""


def _key(control: Control | TaskControl) -> Key:
    return control.job, control.operation if isinstance(control, TaskControl) else None


class Wanted(Struct, frozen=True, kw_only=True):
    """A control, the job's state, and the order it is about; None while no cluster has one."""

    control: Control | TaskControl
    state: State
    order: Order | None


class Sent(Struct, frozen=True, kw_only=True):
    """The control that was sent, to what, and when (steady seconds)."""

    serial: int
    handle: str | None
    at: float


_EFFECT = {Operation.SUSPEND: State.SUSPENDED, Operation.RESUME: State.RUNNING}
