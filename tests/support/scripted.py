"""A cluster that does what a test says, and writes down what it was asked."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import TaskStatus

from shorepower.clusters.contract import Cluster, Finding, Live, Order, OutputSource, Where
from shorepower.model.cluster import ClusterInfo
from shorepower.model.lifecycle import Observation, Operation, State
from shorepower.model.output import Stream

__all__ = ["ScriptedCluster", "ScriptedOutput"]


class ScriptedOutput(OutputSource):
    """Output that a test writes; ``first`` is the first byte that is still kept."""

    def __init__(self) -> None:
        self.data = {stream: bytearray() for stream in Stream}
        self.first = dict.fromkeys(Stream, 0)
        self._grew = anyio.Event()

    def write(self, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        self.data[stream] += data
        self._grew.set()
        self._grew = anyio.Event()

    async def read(self, stream: Stream, offset: int, limit: int) -> tuple[int, bytes]:
        offset = max(offset, self.first[stream])
        return offset, bytes(self.data[stream][offset : offset + limit])

    async def grown(self, stdout: int, stderr: int, timeout_s: float) -> bool:
        with anyio.move_on_after(timeout_s):
            while len(self.data[Stream.STDOUT]) <= stdout and len(self.data[Stream.STDERR]) <= stderr:
                await self._grew.wait()
            return True
        return False

    async def size(self, stream: Stream) -> int:
        return len(self.data[stream])


class ScriptedCluster(Cluster):
    """Takes everything, starts nothing; observations are what the test calls `see` with."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.about = ClusterInfo(name=name, type="scripted", cpu_count=4, memory_mib=8192)
        self.info_fault: Exception | None = None
        self.submitted: list[Order] = []
        """Every order that was sent, also those that came to nothing."""
        self.submit_faults: deque[Exception | None] = deque()
        """Taken one by one; an order is not taken when its fault says so."""
        self.arrives_anyway: bool = False
        """Whether an order arrives although its submit failed."""
        self.has: dict[str, Order] = {}
        self.adopted: list[Sequence[str]] = []
        self.answers: dict[str, Where] = {}
        """What adopt says of a submission, against the truth."""
        self.seen: dict[str, Observation] = {}
        """The newest of each submission; what adopt tells of it."""
        self.controls: list[tuple[str, Operation]] = []
        self.controlled: list[Order] = []
        """The orders of these."""
        self.asked_for: list[Order] = []
        """Every order that adopt was asked for."""
        self.control_faults: deque[Exception | None] = deque()
        self.outputs: dict[tuple[str, int, int], ScriptedOutput] = {}
        self.forgotten: list[str] = []
        self.before_submit: Callable[[Order], Any] | None = None
        self.living: dict[str, Live] = {}
        self._at = 0.0
        self._send, self._receive = anyio.create_memory_object_stream[Sequence[Observation]](1000)
        self._asked = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        task_status.started()
        await anyio.sleep_forever()

    async def info(self) -> ClusterInfo:
        if self.info_fault is not None:
            raise self.info_fault
        return self.about

    async def submit(self, order: Order) -> str:
        self.submitted.append(order)
        self._tell()
        if self.before_submit is not None:
            await self.before_submit(order)
        fault = self.submit_faults.popleft() if self.submit_faults else None
        if fault is None or self.arrives_anyway:
            self.has[order.submission] = order
        if fault is not None:
            raise fault
        return f"handle of {order.submission}"

    async def adopt(self, orders: Sequence[Order]) -> Sequence[Finding]:
        self.adopted.append([order.submission for order in orders])
        self.asked_for += orders
        self._tell()
        return [self._find(order) for order in orders]

    def _find(self, order: Order) -> Finding:
        name = order.submission
        where = self.answers.get(name, Where.FOUND if name in self.has else Where.ABSENT)
        if where is not Where.FOUND:
            return Finding(submission=name, where=where)
        seen = (self.seen[name],) if name in self.seen else ()
        return Finding(submission=name, where=where, handle=f"handle of {name}", observations=seen)

    async def watch(self) -> AsyncIterator[Sequence[Observation]]:
        async for news in self._receive:
            yield news

    async def control(self, order: Order, operation: Operation) -> None:
        self.controls.append((order.submission, operation))
        self.controlled.append(order)
        self._tell()
        if self.control_faults and (fault := self.control_faults.popleft()) is not None:
            raise fault

    def output(self, submission: str, task: int, restart: int) -> ScriptedOutput:
        return self.outputs.setdefault((submission, task, restart), ScriptedOutput())

    async def forget(self, submission: str) -> None:
        self.forgotten.append(submission)

    def live(self) -> Mapping[str, Live]:
        return self.living

    # what a test does

    def observation(self, submission: str, state: State, **more: Any) -> Observation:
        """The next thing seen of a submission; not told to anybody yet."""
        self._at += 1.0
        seen = Observation(submission=submission, as_of=self._at, source="scripted", state=state, **more)
        self.seen[submission] = seen
        return seen

    def see(self, submission: str, state: State, **more: Any) -> None:
        """Something happens, and the watcher hears of it."""
        self.tell(self.observation(submission, state, **more))

    def tell(self, *news: Observation) -> None:
        """The watcher hears of these, in one batch."""
        self._send.send_nowait(news)

    def _tell(self) -> None:
        self._asked.set()
        self._asked = anyio.Event()

    async def until(self, condition: Callable[[], Any], limit_s: float = 10.0) -> None:
        """Wait until something that was asked of this cluster makes the condition true."""
        with anyio.fail_after(limit_s):
            while not condition():
                await self._asked.wait()
