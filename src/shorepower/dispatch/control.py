"""Operations: recorded first, sent to the cluster, sent again until their effect is seen."""

from __future__ import annotations

from functools import partial

import structlog
from anyio.abc import TaskStatus
from msgspec.structs import replace

from ..clusters.contract import Cluster, Order
from ..host.contract import Clock
from ..model.errors import InvalidRequest, ShorepowerError
from ..model.lifecycle import Phase
from ..store.contract import Control, Snapshot, Store, Transaction
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
        self._sent: dict[str, tuple[int, float]] = {}
        """By job: the serial of the control last sent, and when (steady seconds)."""

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
        self._sent = {job: sent for job, sent in self._sent.items() if job in {c.job for c, _ in wanted}}
        for control, order in wanted:
            serial, at = self._sent.get(control.job, (0, 0.0))
            if order is not None and (
                serial != control.serial or now - at >= self._settings.control_repeat_s
            ):
                await self._send(control, order, now)
        return len(wanted)

    def _wanted(self, view: Snapshot) -> list[tuple[Control, Order | None]]:
        return [(control, self._order(view, control.job)) for control in view.controls(self._cluster.name)]

    def _order(self, view: Snapshot, job_id: str) -> Order | None:
        job, spec = view.job(job_id), view.spec(job_id)
        open_ = [one for one in view.submissions(job_id) if one.phase in (Phase.HANDING, Phase.HANDED)]
        if job is None or spec is None or not open_:
            return None
        return order_of(job, spec, open_[-1], self._places)

    async def _send(self, control: Control, order: Order, now: float) -> None:
        try:
            await self._cluster.control(order, control.operation)
        except InvalidRequest as refusal:
            await self._store.write(partial(self._give_up, control=control, why=str(refusal)))
        except (ShorepowerError, OSError) as fault:
            log.warning("operation not sent; trying again", job=control.job, cause=type(fault).__name__)
            return
        self._sent[control.job] = (control.serial, now)

    def _give_up(self, tx: Transaction, *, control: Control, why: str) -> None:
        tx.drop_control(control.job, control.serial)
        job = tx.job(control.job)
        if job is not None and job.wanted is control.operation and not job.state.ended:
            told = tx.update_job(replace(job, wanted=None, why=why))
            tx.append_event(self._clock.now(), "job.control", told, {"wanted": None, "why": why})
