"""Runs the real server with a fault point armed: ``python points.py STATE_DIR TRACE POINT -- COMMAND…``.

The product knows nothing of this. Every act below the state directory that a crash could fall between
(opening for writing, making, renaming, removing, syncing, a write of SQLite, starting a program, a signal)
is a *point* of some *kind*, and is written to the trace before it happens. The process kills itself with
SIGKILL right before the act that ``POINT`` names: ``KIND:NTH``, or ``-`` for none.

A kind is ``ACT.PLACE``: ``rename.blobs``, ``sqlite-write.store.db-wal``, ``spawned``. The kind ``late`` is
a program that was started right before the end but gets no cpu for a while: the next server looks for it
before it has written down that it is there.
"""

from __future__ import annotations

import builtins
import os
import random
import runpy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

__all__ = ["Points", "arm"]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# Source: https://docs.python.org/3/library/audit_events.html. Position of the path among the arguments.
_PATH_EVENTS = {
    "os.rename": ("rename", 1),
    "os.remove": ("remove", 0),
    "os.mkdir": ("mkdir", 0),
    "os.rmdir": ("rmdir", 0),
    "os.link": ("link", 1),
    "os.symlink": ("symlink", 1),
    "os.truncate": ("truncate", 0),
    "os.chmod": ("chmod", 0),
    "os.utime": ("utime", 0),
    "fcntl.ioctl": ("ioctl", 0),
}

_LATE_S = (0.5, 1.0, 1.5, 3.0)
"""How late a late program is; a new server needs about a second before it looks."""

# Functions without an audit event whose first argument is a descriptor.
_DESCRIPTOR_CALLS = {
    "fsync": "sync",
    "fdatasync": "sync",
    "write": "write",
    "writev": "write",
    "pwrite": "write",
    "ftruncate": "truncate",
    "posix_fallocate": "allocate",
}


class Points:
    """Counts the points of one life of a server and ends it at the one that was named."""

    def __init__(self, state_dir: str, trace: str, point: str) -> None:
        self._root = os.path.realpath(state_dir)
        self._trace = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        kind, _, nth = point.rpartition(":")
        self._kind, self._nth = kind, int(nth) if kind else 0
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._write, self._readlink = os.write, os.readlink

    def reach(self, kind: str) -> None:
        """A point: traced, and the end if it is the one."""
        with self._lock:
            self._seen[kind] += 1
            deadly = kind == self._kind and self._seen[kind] == self._nth
            self._write(self._trace, f"{'KILL ' if deadly else ''}{kind}\n".encode())
            if deadly:
                signal.raise_signal(signal.SIGKILL)

    def is_next(self, kind: str) -> bool:
        """Whether the next point of this kind is the deadly one."""
        return kind == self._kind and self._seen[kind] == self._nth - 1

    def place(self, path: object) -> str | None:
        """The first part of a path below the state directory; None for any other path.

        What is named relative to an open folder counts as ours: a server opens nothing else so.
        """
        if isinstance(path, int):
            try:
                path = self._readlink(f"/proc/self/fd/{path}")
            except OSError:
                return None
            if not path.startswith("/"):
                return None  # a pipe or a socket
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        text = os.fsdecode(path)
        if not text.startswith("/"):
            return "relative"
        if text == self._root:
            return "state"
        if not text.startswith(self._root + "/"):
            return None
        return text[len(self._root) + 1 :].split("/")[0]

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """What the interpreter audits."""
        if event == "open":
            path, mode, flags = args
            writing = (
                flags & _WRITING if isinstance(flags, int) else any(c in (mode or "r") for c in "wax+")
            )
            if writing and (place := self.place(path)):
                self.reach(f"open.{place}")
        elif event in _PATH_EVENTS:
            act, position = _PATH_EVENTS[event]
            if place := self.place(args[position]):
                self.reach(f"{act}.{place}")
        elif event in ("os.kill", "os.killpg") and args[-1]:
            self.reach("signal")

    def wrap(self, act: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, a point before it."""

        def reached(descriptor: int, *args: Any, **more: Any) -> Any:
            if (place := self.place(descriptor)) and descriptor != self._trace:
                self.reach(f"{act}.{place}")
            return call(descriptor, *args, **more)

        return reached


def arm(points: Points) -> None:
    """From now on every point is seen."""
    for name, act in _DESCRIPTOR_CALLS.items():
        setattr(os, name, points.wrap(act, getattr(os, name)))
    _arm_writes(points)
    _arm_spawn(points)
    _arm_sqlite(points)
    sys.addaudithook(points.hear)


def _arm_writes(points: Points) -> None:
    """Files of `open`: their bytes leave the process unseen, so closing one is the point."""
    plain = builtins.open

    def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        made = plain(file, mode, *args, **more)
        place = points.place(made.fileno()) if any(c in mode for c in "wax+") else None
        if place and hasattr(made, "close"):
            close = made.close

            def close_reached() -> None:
                if not made.closed:
                    points.reach(f"close.{place}")
                close()

            try:
                made.close = close_reached
            except AttributeError:
                pass  # a raw file takes no attributes
        return made

    builtins.open = opened  # type: ignore[assignment]


def _arm_spawn(points: Points) -> None:
    import subprocess

    fork_exec = subprocess._fork_exec  # type: ignore[attr-defined]

    def spawning(argv: Any, programs: Any, *args: Any) -> Any:
        points.reach("spawn")
        if points.is_next("late"):
            pause_s = random.choice(_LATE_S)
            argv = [b"/bin/sh", b"-c", b'/bin/sleep %.1f; exec "$@"' % pause_s, b"late", *argv]
            programs = (b"/bin/sh",)
        pid = fork_exec(argv, programs, *args)
        points.reach("late")
        points.reach("spawned")
        return pid

    subprocess._fork_exec = spawning  # type: ignore[attr-defined]
    send = signal.pidfd_send_signal

    def signalling(pidfd: int, number: int, *args: Any) -> None:
        if number:
            points.reach("signal")
        send(pidfd, number, *args)

    signal.pidfd_send_signal = signalling  # type: ignore[assignment]


def _arm_sqlite(points: Points) -> None:
    import apsw

    class File(apsw.VFSFile):
        def __init__(self, name: Any, flags: list[int]) -> None:
            path = name.filename() if isinstance(name, apsw.URIFilename) else name
            self._place = (points.place(path) if path else None) or ""
            super().__init__("unix", name, flags)

        def _reach(self, act: str) -> None:
            if self._place:
                points.reach(f"sqlite-{act}.{self._place}")

        def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 - SQLite's own names
            self._reach("write")
            super().xWrite(data, offset)

        def xSync(self, flags: int) -> None:  # noqa: N802
            self._reach("sync")
            super().xSync(flags)

        def xTruncate(self, size: int) -> None:  # noqa: N802
            self._reach("truncate")
            super().xTruncate(size)

    class FileSystem(apsw.VFS):
        def __init__(self) -> None:
            super().__init__("points", "unix", makedefault=True)

        def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
            return File(name, flags)

        def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
            if place := points.place(name):
                points.reach(f"sqlite-delete.{place}")
            super().xDelete(name, sync)

    points.file_system = FileSystem()  # type: ignore[attr-defined] - SQLite keeps no reference to it


def _main() -> None:
    state_dir, trace, point, dashes, *command = sys.argv[1:]
    assert dashes == "--"
    arm(Points(state_dir, trace, point))
    sys.argv = ["shorepower", *command]
    sys.path.pop(0)  # this folder, which the server must not see
    runpy.run_module("shorepower", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
