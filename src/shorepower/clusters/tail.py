"""Output that lies in spool files, readable while it grows.

All followers of an attempt share one `Tail`. While at least one of them waits, one of them looks at the
sizes: often just after something happened, then less and less; seldom while there is no file yet. Nobody
waits, nothing looks.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

import anyio
from anyio import CapacityLimiter, to_thread

from ..model.output import Stream
from .contract import OutputSource
from .spool import Part

__all__ = ["SpoolOutput", "Tail", "Tails", "kept_from"]

T = TypeVar("T")

_FIRST_WAIT_S = 0.002
_LONGEST_WAIT_S = 0.1
_NO_FILE_WAIT_S = 1.0
"""Between two looks for a file: a backend that knows of its beginning says so."""
_SLOWER = 1.4
_READERS_AT_ONCE = 8
_ABSENT = -1
"""The size of a file that is not there."""
LARGEST_READ = 8 << 20


class Tail:
    """What the followers of one attempt share: how long its two files are."""

    def __init__(self, part: Part, limiter: CapacityLimiter) -> None:
        self._part, self._limiter = part, limiter
        self.sizes = (_ABSENT, _ABSENT)
        self._changed = anyio.Event()
        self._begun = anyio.Event()
        self._looking = False
        self._wait_s = _FIRST_WAIT_S

    async def grown(self, stdout: int, stderr: int, timeout_s: float) -> bool:
        """Until a file is longer than given, or the time is over."""
        with anyio.move_on_after(timeout_s):
            await self._look()
            while not self._longer(stdout, stderr):
                await self._next_change()
        return self._longer(stdout, stderr)

    def begun(self) -> None:
        """It was just started: its first byte may come any moment."""
        self._begun.set()

    def _longer(self, stdout: int, stderr: int) -> bool:
        return self.sizes[0] > stdout or self.sizes[1] > stderr

    async def _next_change(self) -> None:
        """Wait for whoever looks, or be the one."""
        if self._looking:
            await self._changed.wait()
            return
        self._looking = True
        try:
            before = self.sizes
            while self.sizes == before:
                await self._pause()
                await self._look()
        finally:
            self._looking = False
            self._tell()  # also when cancelled: another follower takes over

    async def _pause(self) -> None:
        with anyio.move_on_after(self._wait_s):
            await self._begun.wait()
        if self._begun.is_set():
            self._begun, self._wait_s = anyio.Event(), _FIRST_WAIT_S
            await anyio.sleep(_FIRST_WAIT_S)
        longest_s = _NO_FILE_WAIT_S if self.sizes == (_ABSENT, _ABSENT) else _LONGEST_WAIT_S
        self._wait_s = min(self._wait_s * _SLOWER, longest_s)

    async def _look(self) -> None:
        sizes = await to_thread.run_sync(_sizes, self._part, limiter=self._limiter)
        if sizes != self.sizes:
            self.sizes, self._wait_s = sizes, _FIRST_WAIT_S
            self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class Tails:
    """The tails that somebody holds, by attempt."""

    def __init__(self) -> None:
        self._tails: WeakValueDictionary[tuple[str, int, int], Tail] = WeakValueDictionary()
        self._limiter = CapacityLimiter(_READERS_AT_ONCE)

    def source(self, part: Part) -> SpoolOutput:
        """Output of one attempt, for one follower."""
        key = (part.submission, part.task, part.restart)
        tail = self._tails.get(key)
        if tail is None:
            self._tails[key] = tail = Tail(part, self._limiter)
        return SpoolOutput(part, tail, self._limiter)

    def begun(self, part: Part) -> None:
        """An attempt was just started: whoever follows it looks at once."""
        tail = self._tails.get((part.submission, part.task, part.restart))
        if tail is not None:
            tail.begun()

    def __len__(self) -> int:
        return len(self._tails)


class SpoolOutput(OutputSource):
    """Two spool files. Files that are not there yet are empty."""

    def __init__(self, part: Part, tail: Tail, limiter: CapacityLimiter) -> None:
        self._part, self._tail, self._limiter = part, tail, limiter

    async def read(self, stream: Stream, offset: int, limit: int) -> tuple[int, bytes]:
        return await self._in_thread(partial(_read, self._part, stream, offset, min(limit, LARGEST_READ)))

    async def grown(self, stdout: int, stderr: int, timeout_s: float) -> bool:
        return await self._tail.grown(stdout, stderr, timeout_s)

    async def size(self, stream: Stream) -> int:
        return max(0, await self._in_thread(partial(_size, self._part, stream)))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await to_thread.run_sync(work, limiter=self._limiter)


def _size(part: Part, stream: Stream) -> int:
    try:
        return part.output(stream).stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return _ABSENT


def _sizes(part: Part) -> tuple[int, int]:
    return _size(part, Stream.STDOUT), _size(part, Stream.STDERR)


def _read(part: Part, stream: Stream, offset: int, limit: int) -> tuple[int, bytes]:
    """What was given back to the disk reads as zeros: where the data begins is looked up before and
    after, because older bytes may go while this reads."""
    try:
        fd = os.open(part.output(stream), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return offset, b""
    try:
        kept = kept_from(fd)
        while True:
            start = max(offset, kept)
            data = os.pread(fd, limit, start)
            kept = kept_from(fd)
            if kept <= start:
                return start, data
    finally:
        os.close(fd)


def kept_from(fd: int) -> int:
    """Offset of the oldest byte that is still there: output has no other holes than the one that was
    punched at its beginning."""
    size = os.fstat(fd).st_size  # before, as the file may grow from nothing while it is asked for data
    try:
        return os.lseek(fd, 0, os.SEEK_DATA)
    except OSError as fault:
        if fault.errno == errno.ENXIO:  # nothing but a hole, or empty
            return size
        return 0  # a file system that does not tell cannot punch either
