"""Threads that start programs, and nothing else.

`subprocess` uses vfork as long as neither a function, a user nor a group is given: starting costs the
same however large the server is. Niceness is a property of each thread on Linux and is inherited by
what the thread forks, so a nicer program comes from a nicer thread. Source: setpriority(2), NOTES.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import threading
from contextlib import ExitStack

from anyio import CancelScope

from .contract import Spawn, Spawned, SpawnLater
from .processes import process_of

__all__ = ["Spawners"]

_THREADS_EACH = 2
_NICEST = 19


class _Ask:
    """One program to start, and who waits for it."""

    __slots__ = ("answer", "loop", "what")

    def __init__(self, what: Spawn | SpawnLater) -> None:
        self.what = what
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Spawned] = self.loop.create_future()

    def settle(self) -> None:
        """Start it and tell; called in a spawner's thread."""
        try:
            with ExitStack() as files:
                what = self.what
                spawned: Spawned | BaseException = _start(
                    what.make(files) if isinstance(what, SpawnLater) else what
                )
        except BaseException as fault:
            spawned = fault
        try:
            self.loop.call_soon_threadsafe(self._tell, spawned)
        except RuntimeError:  # the loop is closed: nobody is left who would wait
            _let_go(spawned)

    def _tell(self, spawned: Spawned | BaseException) -> None:
        if self.answer.done():
            _let_go(spawned)
        elif isinstance(spawned, BaseException):
            self.answer.set_exception(spawned)
        else:
            self.answer.set_result(spawned)


class Spawners:
    """A few threads for each niceness asked for, begun when first needed."""

    def __init__(self) -> None:
        self._queues: dict[int, queue.SimpleQueue[_Ask | None]] = {}
        self._lock = threading.Lock()

    async def start(self, what: Spawn | SpawnLater) -> Spawned:
        """Start a program. Raises OSError, ValueError (a NUL byte in what is passed)."""
        ask = _Ask(what)
        self._queue(what.nice).put(ask)
        with CancelScope(shield=True):  # milliseconds; the descriptors must stay open until it is done
            await asyncio.wait((ask.answer,))
        return ask.answer.result()

    def close(self) -> None:
        """End the threads; what was started goes on."""
        with self._lock:
            queues, self._queues = self._queues, {}
        for asks in queues.values():
            for _ in range(_THREADS_EACH):
                asks.put(None)

    def _queue(self, nice: int) -> queue.SimpleQueue[_Ask | None]:
        with self._lock:
            if nice not in self._queues:
                asks: queue.SimpleQueue[_Ask | None] = queue.SimpleQueue()
                self._queues[nice] = asks
                for number in range(_THREADS_EACH):
                    name = f"spawn at niceness +{nice}, {number + 1}"
                    threading.Thread(target=_serve, args=(asks, nice), name=name, daemon=True).start()
            return self._queues[nice]


def _serve(asks: queue.SimpleQueue[_Ask | None], nice: int) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # inherited by what is started
    if nice:
        now = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, min(now + nice, _NICEST))
    while (ask := asks.get()) is not None:
        ask.settle()


def _start(what: Spawn) -> Spawned:
    process = subprocess.Popen(
        what.argv,
        env=what.env,
        cwd=what.cwd,
        stdin=what.stdin,
        stdout=what.stdout,
        stderr=what.stderr,
        umask=what.umask,
        close_fds=True,
        start_new_session=True,
    )
    process.returncode = 0  # `subprocess` would else wait for it behind our back: see OwnHost.reap
    pidfd = os.pidfd_open(process.pid)
    found = process_of(process.pid)
    assert found is not None  # nobody but us can reap it, and we have not yet
    return Spawned(pid=process.pid, start_time=found.start_time, pidfd=pidfd)


def _let_go(spawned: Spawned | BaseException) -> None:
    if isinstance(spawned, Spawned):
        os.close(spawned.pidfd)
