"""Arrays of a local cluster whose tasks write down when they start and end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import anyio
from msgspec.structs import replace

from shorepower.clusters.contract import Each, Order, TaskPlan
from shorepower.model.lifecycle import State
from shorepower.model.tasks import TaskSet
from support.cluster_rigs import PATIENCE_S, Rig

__all__ = ["END", "START", "Ledger", "again", "all_ended", "an_array", "ends", "ledger", "started", "until"]


class Ledger(Each):
    """Tasks that write into one ledger what they are and when; index = 10 + position."""

    def __init__(self, folder: Path, env: dict[str, str], script: str) -> None:
        self.folder, self._env, self._script = folder, env, script
        self.cleared: list[int] = []
        self.faults: dict[int, Exception] = {}
        self._lock = threading.Lock()

    def index(self, task: int) -> int:
        return 10 + task

    def plan(self, task: int) -> TaskPlan:
        if (fault := self.faults.pop(task, None)) is not None:
            raise fault
        env = {**self._env, "SHOREPOWER_TASK_INDEX": str(self.index(task)), "LEDGER": str(self.folder)}
        return TaskPlan(argv=("sh", "-c", self._script), env=env, cwd=str(self.folder))

    def clear(self, task: int) -> None:
        with self._lock:
            self.cleared.append(task)


START = 'echo "start $SHOREPOWER_TASK_INDEX" >>"$LEDGER/ledger"; '
END = '; echo "end $SHOREPOWER_TASK_INDEX" >>"$LEDGER/ledger"'


def an_array(rig: Rig, count: int, script: str = "true", **changes) -> tuple[Order, Ledger]:
    plain = rig.order("job-1", **changes)
    each = Ledger(rig.folder, dict(plain.env), START + script)
    return replace(plain, tasks=TaskSet.first(count), each=each), each


def ledger(rig: Rig) -> list[str]:
    file = rig.folder / "ledger"
    return file.read_text().splitlines() if file.exists() else []


def started(rig: Rig) -> list[int]:
    return sorted(int(line.split()[1]) - 10 for line in ledger(rig) if line.startswith("start"))


async def until(fits: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_S):
        while not fits():  # noqa: ASYNC110 - files tell nobody
            await anyio.sleep(0.01)


def ends(rig: Rig) -> dict[int, list[State]]:
    told: dict[int, list[State]] = {}
    for seen in rig.of("job-1"):
        if seen.state.ended:
            for task in seen.tasks:
                told.setdefault(task, []).append(seen.state)
    return told


async def all_ended(rig: Rig, count: int) -> dict[int, list[State]]:
    await until(lambda: len(ends(rig)) == count)
    return ends(rig)


def again(rig: Rig, order: Order, **changes) -> Order:
    """As the dispatcher would ask after a restart, given what was told so far."""
    over = TaskSet.of(ends(rig))
    begun = TaskSet.of(
        task
        for seen in rig.of("job-1")
        if seen.state in (State.RUNNING, State.SUSPENDED)
        for task in seen.tasks
        if task not in over
    )
    return replace(order, ended=over, begun=begun, **changes)
