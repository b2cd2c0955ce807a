"""What tests of the dispatcher share: callers, specs, a job on record."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio

from shorepower.clusters.contract import Cluster
from shorepower.dispatch.dispatcher import Dispatcher
from shorepower.dispatch.places import DispatchSettings, Places
from shorepower.dispatch.submit import record
from shorepower.host.contract import Host, Look
from shorepower.model.array import ArraySpec, Range
from shorepower.model.caller import Caller, Scope
from shorepower.model.job import Job, JobSpec, job_id_from
from shorepower.model.lifecycle import Reason, State
from shorepower.store.contract import Store
from shorepower.testing.clock import FakeClock

__all__ = [
    "ALICE",
    "BOB",
    "NOW",
    "QUICK",
    "READER",
    "SUBMITTER",
    "Bench",
    "a_job",
    "a_spec",
    "eventually",
    "on_record",
    "sweep",
]

ALICE = Caller(user="alice", uid=1001)
BOB = Caller(user="bob", uid=1002)
READER = Caller(user="alice", scope=Scope.READ, via="token:reads")
SUBMITTER = Caller(user="alice", scope=Scope.SUBMIT, via="token:submits")
NOW = datetime(2030, 5, 1, 12, 0, tzinfo=UTC)

QUICK = DispatchSettings(
    retry_first_s=0.01, retry_most_s=0.05, control_repeat_s=0.05, info_period_s=0.05, expire_period_s=3600.0
)
"""Waits that are over at once, so that what is tried again is tried again soon."""
CHANGE_LIMIT_S = 20.0


def a_spec(name: str = "job", **more: Any) -> JobSpec:
    """A spec that nothing is wrong with, in place so that nothing is staged."""
    told: dict[str, Any] = {"argv": ("true",), "in_place": True, "workdir": "/", "cluster": "fake"}
    return JobSpec(name=name, **(told | more))


def sweep(count: int = 9, **more: Any) -> JobSpec:
    """A spec of an array; ``ranges`` are its indices if they are not 0, 1, 2 …"""
    array = ("ranges", "max_parallel", "grid", "rows", "row_count")
    said: dict[str, Any] = {"ranges": (Range(0, count - 1),)}
    said |= {name: more.pop(name) for name in array if name in more}
    return a_spec(array=ArraySpec(**said), **more)


def a_job(spec: JobSpec, owner: str = "alice") -> Job:
    """A new job of a spec, with an id that no other has."""
    count = spec.array.count if spec.array is not None else 1
    return Job(
        id=job_id_from(os.urandom(12)),
        name=spec.name,
        owner=owner,
        cluster=spec.cluster,
        state=State.PENDING,
        reason=Reason.QUEUED,
        created_at=NOW,
        tags=spec.tags,
        array=spec.array is not None,
        task_count=count,
        counts={State.PENDING: count},
    )


async def on_record(store: Store, spec: JobSpec | None = None, owner: str = "alice") -> Job:
    """A job with its first submission, due."""
    spec = spec or a_spec()
    job = a_job(spec, owner)
    return await store.write(lambda tx: record(tx, job, spec, None, b""))


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait for something that nobody tells of: a file that comes or goes."""
    with anyio.fail_after(CHANGE_LIMIT_S):
        while not condition():  # noqa: ASYNC110 - the file system raises no event
            await anyio.sleep(0.005)


class Nobody(Host):
    """A host that starts nothing and has no files."""

    user, uid = "alice", 1001

    async def spawn(self, what: Any) -> Any:
        raise AssertionError("the dispatcher starts no program by itself")

    async def look(self, paths: Any, timeout_s: float) -> dict[str, Look]:
        return {path: Look(path=path, exists=False) for path in paths}

    async def run(self, argv: Any, **more: Any) -> Any:
        raise AssertionError("the dispatcher runs no program by itself")


class Bench:
    """What a dispatcher stands on; it may live several lives on it."""

    def __init__(
        self, store: Store, clusters: Mapping[str, Cluster], clock: FakeClock, state_dir: Path
    ) -> None:
        self.store, self.clusters, self.clock = store, dict(clusters), clock
        self.places = Places(state_dir=state_dir)
        self.settings = QUICK
        self.host: Host = Nobody()
        for folder in (state_dir, state_dir / "work", state_dir / "spool"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def dispatcher(self) -> Dispatcher:
        """One that does not run yet."""
        return Dispatcher(
            store=self.store,
            clusters=self.clusters,
            host=self.host,
            clock=self.clock,
            places=self.places,
            settings=self.settings,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Dispatcher]:
        """One life; it ends at once, as by a crash that nobody notices."""
        dispatcher = self.dispatcher()
        fault: BaseException | None = None
        async with anyio.create_task_group() as tg:
            await tg.start(dispatcher.run)
            try:
                yield dispatcher
            except BaseException as raised:  # told alone, not in a group with the cancellation of the rest
                fault = raised
            tg.cancel_scope.cancel()
        if fault is not None:
            raise fault

    async def stands(self, job: Job | str) -> Job:
        """The job on record."""
        name = job if isinstance(job, str) else job.id
        found = await self.store.read(lambda view: view.job(name))
        assert found is not None
        return found

    async def until(self, job: Job | str, wanted: Callable[[Job], Any]) -> Job:
        """The job on record, once it is as wanted."""
        changed = anyio.Event()

        def hear(events: Any) -> None:
            nonlocal changed
            changed.set()
            changed = anyio.Event()

        stop = self.store.subscribe(hear)
        try:
            with anyio.fail_after(CHANGE_LIMIT_S):
                while True:
                    waiting = changed
                    found = await self.stands(job)
                    if wanted(found):
                        return found
                    await waiting.wait()
        except TimeoutError:
            raise AssertionError(f"never came to be as wanted: {await self.stands(job)}") from None
        finally:
            stop()
