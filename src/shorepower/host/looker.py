"""Looking at paths that may never answer: a dead network mount holds up nothing but itself."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from .contract import Look

__all__ = ["Looker", "look_at", "mount_of"]

_THREADS_A_MOUNT = 4
_THREADS = 64


class Looker:
    """Looks with threads of its own, a few for each mount.

    A thread that hangs in the kernel cannot be ended. It is left behind and counts against its mount
    until it comes back; a mount whose threads all hang is not asked again meanwhile.
    """

    def __init__(self) -> None:
        self._busy: dict[str, int] = {}
        self._lock = threading.Lock()

    async def look(self, paths: Sequence[str], timeout_s: float) -> Mapping[str, Look]:
        """What answered in time."""
        by_mount: dict[str, list[str]] = {}
        mounts = _mounts()
        for path in dict.fromkeys(paths):
            by_mount.setdefault(mount_of(path, mounts), []).append(path)
        seen: dict[str, Look] = {}
        left = len(by_mount)
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def finished() -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(finished)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

        for mount, asked in by_mount.items():
            if not self._begin(mount, asked, seen, tell):
                finished()
        if by_mount:
            with anyio.move_on_after(timeout_s):
                await done.wait()
        return dict(seen)

    def _begin(self, mount: str, paths: list[str], seen: dict[str, Look], tell: object) -> bool:
        with self._lock:
            busy = self._busy.get(mount, 0)
            if busy >= _THREADS_A_MOUNT or sum(self._busy.values()) >= _THREADS:
                return False
            self._busy[mount] = busy + 1

        def work() -> None:
            try:
                for path in paths:
                    seen[path] = look_at(path)
            finally:
                with self._lock:
                    self._busy[mount] -= 1
                    if not self._busy[mount]:
                        del self._busy[mount]
                tell()  # type: ignore[operator]

        threading.Thread(target=work, name=f"look below {mount}", daemon=True).start()
        return True


def look_at(path: str) -> Look:
    """Look at one path. Blocking."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return Look(path=path, exists=False)
    return Look(
        path=path,
        exists=True,
        is_directory=stat.S_ISDIR(mode),
        readable=os.access(path, os.R_OK),
        writable=os.access(path, os.W_OK),
        executable=os.access(path, os.X_OK),
    )


def mount_of(path: str, mounts: Sequence[str]) -> str:
    """The mount a path is below by its name alone; nothing is touched."""
    plain = os.path.normpath(path)
    fits = (one for one in mounts if plain == one or plain.startswith(one.rstrip("/") + "/"))
    return max(fits, key=len, default="/")


def _mounts() -> list[str]:
    """Source: proc_pid_mountinfo(5), field 5, with space, tab, newline, backslash as octal."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            fields = [line.split(b" ", 5)[4] for line in file]
    except (OSError, IndexError):
        return ["/"]
    return [os.fsdecode(_plain(field)) for field in fields]


def _plain(field: bytes) -> bytes:
    if b"\\" not in field:
        return field
    for code, letter in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, letter)
    return field
