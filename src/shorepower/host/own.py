"""Programs and files as myself: all that a private server needs."""

from __future__ import annotations

import getpass
import os
import pwd
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from anyio import CapacityLimiter, get_cancelled_exc_class, to_thread

from .contract import Clock, Host, Look, Reaped, Spawn, Spawned, SpawnLater
from .looker import Looker
from .pipes import Talk, talk
from .spawner import Spawners, start_now

__all__ = ["OwnHost", "SystemClock", "heed_ignored_signals"]

_COMMANDS_AT_ONCE = 8
_HEEDED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)


class SystemClock(Clock):
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def steady(self) -> float:
        return time.monotonic()


class OwnHost(Host):
    """The user this server runs as, on this machine.

    Made in the main thread, it sees to it that programs begin with default signal handling.
    """

    def __init__(self) -> None:
        self.uid = os.getuid()
        self.user = _user_name(self.uid)
        self._spawners = Spawners()
        self._looker = Looker()
        self._commands = CapacityLimiter(_COMMANDS_AT_ONCE)
        heed_ignored_signals()

    async def spawn(self, what: Spawn | SpawnLater) -> Spawned:
        return await self._spawners.start(what)

    def spawn_here(self, what: SpawnLater) -> Spawned:
        return start_now(what)

    def reap(self, spawned: Spawned) -> Reaped | None:
        try:
            if os.waitid(os.P_PIDFD, spawned.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
        except ChildProcessError:
            return None  # another server's child, taken over
        _, status, used = os.wait4(spawned.pid, 0)
        return Reaped(
            exit_code=os.waitstatus_to_exitcode(status),
            cpu_time_s=used.ru_utime + used.ru_stime,
            largest_process_mib=_largest_mib(used.ru_maxrss),
        )

    async def look(self, paths: Sequence[str], timeout_s: float) -> Mapping[str, Look]:
        return await self._looker.look(paths, timeout_s)

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float, limit_bytes: int = 1 << 24
    ) -> tuple[int, bytes, bytes]:
        """Raises TimeoutError, TooLarge (more output than ``limit_bytes``), OSError (no such program)."""
        what = Talk(
            program=argv[0],
            stdin=stdin,
            deadline=time.monotonic() + timeout_s,
            limit_bytes=limit_bytes,
            give_up=threading.Event(),
        )
        try:
            return await to_thread.run_sync(
                _run, argv, what, limiter=self._commands, abandon_on_cancel=True
            )
        except get_cancelled_exc_class():
            what.give_up.set()
            raise

    def close(self) -> None:
        """End the threads that start programs."""
        self._spawners.close()


def _run(argv: Sequence[str], what: Talk) -> tuple[int, bytes, bytes]:
    """A short command; its whole group is killed when it takes too long."""
    with subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        said = {process.stdout: bytearray(), process.stderr: bytearray()}
        try:
            talk(what, process.stdin, said)
            code = process.wait(max(0.0, what.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise what.too_slow() from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # unreaped, so the number is still its own
        return code, bytes(said[process.stdout]), bytes(said[process.stderr])


def heed_ignored_signals() -> None:
    """Handle with nothing what this process was started ignoring (``nohup``, ``&`` in a script).

    An ignored signal stays ignored in every program started from here, a handled one goes back to its
    default there. In another thread than the main one this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _HEEDED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, ended children would vanish unseen


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container without that user
        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return f"uid{uid}"


def _largest_mib(child_kib: int) -> float | None:
    """A child's peak counts the memory it shared with us before it became another program.

    Source: fs/exec.c, exec_mmap: the old memory's high water mark is kept. So a figure below our
    own peak says nothing about the child.
    """
    own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return child_kib / 1024 if child_kib > own_kib else None
