"""Threads that start programs, and nothing else.

`subprocess` uses vfork as long as neither a function, a user nor a group is given: starting costs the
same however large the server is. A nicer program is made nicer by its group, at once after its start:
a thread of lower priority that started it would hold the interpreter's lock while it waits for a cpu.
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

__all__ = ["Spawners", "start_now"]

_THREADS = 2
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
            spawned: Spawned | BaseException = start_now(self.what)
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
    """A few threads, begun when first needed."""

    def __init__(self) -> None:
        self._asks: queue.SimpleQueue[_Ask | None] | None = None
        self._lock = threading.Lock()

    async def start(self, what: Spawn | SpawnLater) -> Spawned:
        """Start a program. Raises OSError, ValueError (a NUL byte in what is passed)."""
        ask = _Ask(what)
        self._queue().put(ask)
        with CancelScope(shield=True):  # milliseconds; the descriptors must stay open until it is done
            await asyncio.wait((ask.answer,))
        return ask.answer.result()

    def close(self) -> None:
        """End the threads; what was started goes on."""
        with self._lock:
            asks, self._asks = self._asks, None
        for _ in range(_THREADS if asks else 0):
            asks.put(None)  # type: ignore[union-attr]

    def _queue(self) -> queue.SimpleQueue[_Ask | None]:
        with self._lock:
            if self._asks is None:
                self._asks = queue.SimpleQueue()
                for number in range(_THREADS):
                    name = f"spawn {number + 1}"
                    threading.Thread(target=_serve, args=(self._asks,), name=name, daemon=True).start()
            return self._asks


def _serve(asks: queue.SimpleQueue[_Ask | None]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # inherited by what is started
    while (ask := asks.get()) is not None:
        ask.settle()


def start_now(what: Spawn | SpawnLater) -> Spawned:
    """Start a program from this thread, which has to have no signal blocked: the mask is inherited."""
    with ExitStack() as files:
        return _start(what.make(files) if isinstance(what, SpawnLater) else what)


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
    if what.nice:
        nicer = min(os.getpriority(os.PRIO_PROCESS, 0) + what.nice, _NICEST)
        os.setpriority(os.PRIO_PGRP, process.pid, nicer)  # its group is itself, and what it forked by now
    pidfd = os.pidfd_open(process.pid)
    found = process_of(process.pid)
    assert found is not None  # nobody but us can reap it, and we have not yet
    return Spawned(pid=process.pid, start_time=found.start_time, pidfd=pidfd)


def _let_go(spawned: Spawned | BaseException) -> None:
    if isinstance(spawned, Spawned):
        os.close(spawned.pidfd)
