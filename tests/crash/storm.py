"""Clients that go on whatever happens to the server: they submit, ask for operations, and read along."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TypeVar

from shorepower.client.client import Client
from shorepower.client.errors import ServerFault
from shorepower.model.errors import Busy, Conflict, InvalidRequest, ShorepowerError, Unreachable
from shorepower.model.job import Job
from shorepower.model.lifecycle import Operation, State
from shorepower.model.task import Task
from shorepower.model.tree import digest_of
from shorepower.wire.http.frames import encode_frame

from .jobs import Planned, plan

__all__ = ["STOPS", "Storm", "Told"]

T = TypeVar("T")

STOPS = (Operation.STOP, Operation.KILL)
ANSWER_LIMIT_S = 90.0
"""From the first try of a request to its answer, over all restarts."""
END_LIMIT_S = 120.0
"""From the moment that nothing is killed any more until everything has ended."""
_PAUSE_S = 0.05


class Told:
    """What the clients know of one job."""

    def __init__(self, planned: Planned) -> None:
        self.planned = planned
        self.id: str | None = None
        """Set when the submit was acknowledged."""
        self.streams: defaultdict[tuple[int, str], bytearray] = defaultdict(bytearray)
        """What was read, by task and stream; the one task of a plain job is 0."""
        self.followed_to_end = False
        self.tasks: dict[int, Task] = {}
        """Of an array, at its end."""
        self.asked: list[Operation] = []
        """Operations that were asked for, until they were acknowledged or the job had ended."""
        self.faults: list[str] = []


class Storm:
    """Submits jobs while it is allowed to, minds each in a thread of its own, and remembers everything."""

    def __init__(self, environ: Mapping[str, str], seed: int, ledger: str, *, in_flight: int = 8) -> None:
        self._environ, self._seed, self._ledger = environ, seed, ledger
        self._dice = random.Random(f"storm {seed}")
        self._free = threading.Semaphore(in_flight)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._number = 0
        self.told: list[Told] = []
        self.retries = 0
        self.client = Client(environ=environ, start=False)

    def submit_more(self, limit_s: float) -> bool:
        """Send one job more as soon as there is room; False when there was none in time."""
        if not self._free.acquire(timeout=limit_s):
            return False
        told = Told(plan(self._number, self._seed, self._ledger))
        self._number += 1
        self.told.append(told)
        thread = threading.Thread(target=self._mind, args=(told,), name=told.planned.mark, daemon=True)
        self._threads.append(thread)
        thread.start()
        return True

    @property
    def busy(self) -> bool:
        """Whether some job is not through yet."""
        return any(thread.is_alive() for thread in self._threads)

    def finish(self) -> None:
        """Wait until every job has ended and every reader is through."""
        deadline = time.monotonic() + END_LIMIT_S
        for thread, told in zip(self._threads, self.told, strict=True):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                told.faults.append(f"not through after {END_LIMIT_S:.0f} s: {self._stands(told)}")

    def close(self) -> None:
        """Let go of the server."""
        self._over.set()
        self.client.close()

    def ask(self, call: Callable[[], T]) -> T:
        """An answer, over restarts of the server."""
        deadline = time.monotonic() + ANSWER_LIMIT_S
        while True:
            try:
                return call()
            except (Unreachable, Busy) as fault:
                if self._over.is_set() or time.monotonic() > deadline:
                    raise
                self.retries += isinstance(fault, Unreachable)
                time.sleep(_PAUSE_S)

    def _stands(self, told: Told) -> str:
        if told.id is None:
            return "not acknowledged"
        try:
            job = self.client.job(told.id)
        except ShorepowerError as fault:
            return str(fault)
        return f"{job.state} {job.reason} {job.why!r} wanted={job.wanted} results={job.results.state}"

    def _mind(self, told: Told) -> None:
        try:
            self._submit(told)
            operator = threading.Thread(target=self._operate, args=(told,), daemon=True)
            operator.start()
            self._follow(told)
            operator.join(ANSWER_LIMIT_S)
            if self._dice.random() < 0.2:
                self._submit_again(told)
        except Exception as fault:
            told.faults.append(f"a client failed: {type(fault).__name__}: {fault}")
        finally:
            self._free.release()

    def _submit(self, told: Told) -> None:
        planned = told.planned
        blobs = dict(planned.project.blobs) if planned.project else {}
        if planned.stdin:
            blobs[digest_of(planned.stdin)] = planned.stdin
        if blobs:
            self._send(blobs)
        try:
            told.id = self._keyed(planned).id
        except InvalidRequest as refusal:
            told.faults.append(f"refused though everything was sent: {refusal}")
            self._send(blobs)
            told.id = self._keyed(planned).id

    def _send(self, blobs: dict[str, bytes]) -> None:
        missing = self.ask(lambda: self.client.missing_blobs(list(blobs)))
        body = b"".join(encode_frame({"digest": digest}, blobs[digest]) for digest in missing)
        if body:
            self.ask(lambda: self.client.put_blobs(body))

    def _keyed(self, planned: Planned) -> Job:
        return self.ask(
            lambda: self.client.submit_spec(planned.spec, key=planned.key, secrets=planned.secrets)
        )

    def _submit_again(self, told: Told) -> None:
        again = self._keyed(told.planned)
        if again.id != told.id:
            told.faults.append(f"the same key gave {told.id}, then {again.id}")

    def _operate(self, told: Told) -> None:
        """Ask for the operations of the plan, each when it is possible."""
        try:
            for operation in told.planned.operations:
                if operation is Operation.SUSPEND or self._dice.random() < 0.5:
                    job = self._wait(told, lambda job: job.state is not State.PENDING)
                elif operation is Operation.RESUME:
                    job = self._wait(told, lambda job: job.state is State.SUSPENDED)
                else:
                    job = None
                if job is not None and job.state.ended:
                    return
                told.asked.append(operation)  # before the answer, which a crash may swallow
                self._ask_for(told, operation)
        except Conflict:
            return  # it has ended meanwhile; whether it may have is checked at the end
        except (ShorepowerError, TimeoutError, ServerFault) as fault:
            told.faults.append(f"{type(fault).__name__} of an operation: {fault}")

    def _ask_for(self, told: Told, operation: Operation) -> None:
        assert told.id is not None
        name, some = told.id, told.planned.some
        self.ask(lambda: self.client.control(name, operation, indices=some))

    def _wait(self, told: Told, until: Callable[[Job], bool]) -> Job:
        assert told.id is not None
        name = told.id
        deadline = time.monotonic() + ANSWER_LIMIT_S
        job = self.ask(lambda: self.client.job(name))
        while not until(job) and not job.state.ended:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{job.state} {job.why!r} wanted={job.wanted}")
            job = self.ask(lambda: self.client.job(name, revision=job.revision, wait_s=5.0))  # noqa: B023
        return job

    def _follow(self, told: Told) -> None:
        assert told.id is not None
        for piece in self.client.output(told.id):
            if piece.kind == "gap":
                told.faults.append(
                    f"a gap of {piece.missing_bytes} bytes in {piece.stream} of {piece.task}"
                )
            elif piece.kind == "output":
                have = told.streams[piece.task, piece.stream.value]
                if piece.offset != len(have):
                    told.faults.append(
                        f"{piece.stream} of {piece.task} went on at {piece.offset} after {len(have)} bytes"
                    )
                have += piece.data
            elif piece.kind == "end":
                told.followed_to_end = True
