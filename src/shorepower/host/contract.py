"""Run programs and touch files *as someone*.

The only way the server opens a path below a directory that another user can write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime

from msgspec import Struct

__all__ = ["Clock", "Host", "Look", "Reaped", "Spawn", "SpawnLater", "Spawned"]


class Spawn(Struct, frozen=True, kw_only=True):
    """A program to start, detached from the server, in a session of its own."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    stdin: int
    stdout: int
    stderr: int
    """Open descriptors; the program gets these three and no other."""
    umask: int = 0o022
    nice: int = 0
    """Added niceness, 0 or more."""


class SpawnLater(Struct, frozen=True, kw_only=True):
    """A program whose files are still to be opened, where that may block."""

    make: Callable[[ExitStack], Spawn]
    """Called once. The stack is unwound when the program has its own copies of the descriptors, or
    when it could not be started."""
    nice: int = 0
    """As the ``nice`` of what ``make`` returns."""


class Spawned(Struct, frozen=True, kw_only=True):
    """A process that was started, named so that it cannot be taken for another."""

    pid: int
    start_time: int
    """Clock ticks since boot. Source: proc_pid_stat(5), field 22."""
    pidfd: int
    """Becomes readable when the process ends; the receiver closes it."""


class Reaped(Struct, frozen=True, kw_only=True):
    """How a process that this host started has ended, taken from the kernel once."""

    exit_code: int
    """Its own, or -N when signal N ended it."""
    cpu_time_s: float
    """User and system time, with all it has waited for."""
    largest_process_mib: float | None
    """Peak resident size of its largest process; None where it cannot be told apart from the
    memory of the server that started it."""


class Look(Struct, frozen=True, kw_only=True):
    """What a path is, as this user."""

    path: str
    exists: bool
    is_directory: bool = False
    readable: bool = False
    writable: bool = False
    executable: bool = False


class Host(ABC):
    """One user of one machine."""

    user: str
    uid: int

    @abstractmethod
    async def spawn(self, what: Spawn | SpawnLater) -> Spawned:
        """Start it. Raises OSError when the program or its directory is not there, and whatever
        ``SpawnLater.make`` raises."""

    def spawn_here(self, what: SpawnLater) -> Spawned:
        """The same from a thread of the caller's own, in which no signal is blocked: blocking, and without
        a word to any other thread.
        """
        raise NotImplementedError

    def reap(self, spawned: Spawned) -> Reaped | None:
        """Take the end of an ended process; None when it goes on or is nobody's here to take.

        Never blocks. Until then its pid cannot be given to another process.
        """
        return None

    @abstractmethod
    async def look(self, paths: Sequence[str], timeout_s: float) -> Mapping[str, Look]:
        """Look at paths; one that does not answer in time is left out."""

    @abstractmethod
    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float, limit_bytes: int = 1 << 24
    ) -> tuple[int, bytes, bytes]:
        """Run a short command to its end: (exit code, stdout, stderr). Raises TimeoutError."""


class Clock(ABC):
    """What time it is; injected, so that tests can move it."""

    @abstractmethod
    def now(self) -> datetime:
        """Aware UTC; may jump."""

    @abstractmethod
    def steady(self) -> float:
        """Seconds that only grow while the machine is awake; no meaning across restarts."""
