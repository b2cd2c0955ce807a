"""What runs on this machine, read from /proc, and signals that cannot hit a stranger.

A process is named by (pid, start time): a pid alone is given out again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct

__all__ = [
    "PAGE_MIB",
    "TICKS_PER_S",
    "Process",
    "ancestors",
    "command_line",
    "environment",
    "find",
    "held",
    "parse_stat",
    "process_of",
    "proportional_mib",
    "send",
    "sweep",
    "uptime_cs",
]

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / (1 << 20)
_DEAD = frozenset("ZXx")


class Process(Struct, frozen=True):
    """One process at the moment it was read."""

    pid: int
    start_time: int
    """Clock ticks since boot."""
    state: str
    parent: int
    group: int
    session: int
    cpu_ticks: int
    """User and system time, its own and of the children it has waited for."""
    resident_pages: int

    @property
    def living(self) -> bool:
        """Not a zombie: it can still run a line."""
        return self.state not in _DEAD

    @property
    def stopped(self) -> bool:
        """Suspended by a signal."""
        return self.state == "T"


def parse_stat(line: bytes) -> Process:
    """One line of /proc/PID/stat. Source: proc_pid_stat(5); the name in brackets may hold anything."""
    words = line[line.rindex(b")") + 2 :].split()
    return Process(
        pid=int(line[: line.index(b" ")]),
        state=words[0].decode("ascii"),
        parent=int(words[1]),
        group=int(words[2]),
        session=int(words[3]),
        cpu_ticks=sum(map(int, words[11:15])),
        start_time=int(words[19]),
        resident_pages=int(words[21]),
    )


def _read(path: str, limit: int = 4096) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, limit)
    except OSError:
        return None
    finally:
        os.close(fd)


def process_of(pid: int) -> Process | None:
    """The process with this number now, a zombie included; None when there is none."""
    line = _read(f"/proc/{pid}/stat")
    return parse_stat(line) if line else None


def find(pid: int, start_time: int) -> Process | None:
    """That very process while it lives; None once it has ended, even if the number is in use again."""
    found = process_of(pid)
    return found if found is not None and found.start_time == start_time and found.living else None


def sweep() -> list[Process]:
    """Every living process, in one pass. Processes that begin meanwhile may be missing."""
    found = (process_of(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - speed
    return [one for one in found if one is not None and one.living]


def environment(pid: int, limit: int = 1 << 22) -> list[bytes] | None:
    """The variables (``NAME=value``) a process was started with; None where it may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            pieces = iter(lambda: file.read(1 << 17), b"")
            data = b""
            for piece in pieces:
                data += piece or b""
                if len(data) > limit:
                    break
    except OSError:
        return None
    return data.split(b"\0")


def command_line(pid: int) -> bytes | None:
    """The arguments of a process, each closed by a NUL; None when there is none. Read no further than a
    script on it may reach."""
    return _read(f"/proc/{pid}/cmdline", 1 << 16)


def ancestors(pid: int, processes: Iterable[Process]) -> set[int]:
    """A process and all it descends from."""
    parents = {one.pid: one.parent for one in processes}
    line: set[int] = set()
    while pid and pid not in line:
        line.add(pid)
        pid = parents.get(pid, 0)
    return line


def proportional_mib(pid: int) -> float | None:
    """Resident memory of a process, each shared page divided by how many share it; None where it may not be
    read. Costs far more than the resident size. Source: proc_pid_smaps(5), Pss of smaps_rollup."""
    for line in (_read(f"/proc/{pid}/smaps_rollup") or b"").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) / 1024
    return None


@contextmanager
def held(pid: int, start_time: int) -> Iterator[int | None]:
    """A pidfd of that very process for the length of the block; None when it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        yield None
        return
    try:
        found = process_of(pid)
        yield pidfd if found is not None and found.start_time == start_time else None
    finally:
        os.close(pidfd)


def send(pid: int, start_time: int, number: int) -> bool:
    """Signal that very process; False when it is gone or not ours to signal."""
    with held(pid, start_time) as pidfd:
        if pidfd is None:
            return False
        try:
            signal.pidfd_send_signal(pidfd, number)
        except OSError:
            return False
        return True


def uptime_cs() -> int:
    """Hundredths of a second since boot, time asleep included, as /proc/uptime counts them."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 10_000_000
