"""What the tasks of a job give back, on its way to readers: logs of records that nobody here interprets."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec import Struct

from ..model.caller import Caller
from ..model.errors import NotFound
from ..store.contract import Snapshot, Store
from .access import find
from .news import News

__all__ = ["VALUES", "ValuePiece", "Values"]

VALUES = "values"
"""The folder beside the staged project that holds one log for each task, named by the task's index."""

_PIECE_BYTES = 1 << 20
_ANSWER_BYTES = 64 << 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.004, 0.25
_SHARE = 20
"""News is at most this part of the wait late; and looking takes at most this part of the time."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOG = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_INDEX_DIGITS = 10


class ValuePiece(Struct, frozen=True, kw_only=True):
    """Some bytes of one task's log, or how the answer ends."""

    kind: str
    """``value``, ``more`` (go on from where this ended) or ``end`` (the job ended and all is read)."""
    task: int = 0
    """The user's own index."""
    offset: int = 0
    data: bytes = b""


class _Grown(Struct, frozen=True):
    """A log that is longer than what its reader has."""

    folder: Path
    task: int
    offset: int
    size_bytes: int


class Values:
    """Reads the logs of values."""

    def __init__(self, store: Store, news: News) -> None:
        self._store, self._news = store, news
        self._disk = CapacityLimiter(4)

    async def read(
        self, name: str, caller: Caller, offsets: Mapping[int, int], *, wait_s: float
    ) -> AsyncGenerator[ValuePiece, None]:
        """See `Dispatcher.read_values`."""
        job = (await self._store.read(lambda view: find(view, name, caller))).id
        grown, ended = await self._until_grown(job, offsets, wait_s)
        room = _ANSWER_BYTES
        for log in grown:
            offset = log.offset
            while room and (piece := await self._piece(log, offset, room)):
                yield ValuePiece(kind="value", task=log.task, offset=offset, data=piece)
                offset += len(piece)
                room -= len(piece)
        yield ValuePiece(kind="end" if ended and room else "more")

    async def _until_grown(
        self, job: str, offsets: Mapping[int, int], wait_s: float
    ) -> tuple[list[_Grown], bool]:
        """(logs with something new, whether the job had ended before they were looked at)."""
        grown: list[_Grown] = []
        with self._news.listen(job) as news:
            folders, ended = await self._store.read(partial(_standing, job=job))
            started = perf_counter()
            with anyio.move_on_after(wait_s):
                while True:
                    began = perf_counter()
                    with anyio.CancelScope(shield=True):
                        grown = await to_thread.run_sync(_look, folders, offsets, limiter=self._disk)
                    if grown or ended:
                        break
                    if await news.wait(_pause(started, began, perf_counter())):
                        folders, ended = await self._store.read(partial(_standing, job=job))
        return grown, ended

    async def _piece(self, log: _Grown, offset: int, room: int) -> bytes:
        """The next bytes that were there when the log was looked at."""
        length = min(_PIECE_BYTES, room, log.size_bytes - offset)
        if length <= 0:
            return b""
        return await to_thread.run_sync(_read, log, offset, length, limiter=self._disk)


def _pause(started: float, began: float, now: float) -> float:
    """How long until the next look, by how long the reader waits and how long the last look took."""
    quiet = min(max((now - started) / _SHARE, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
    return max(quiet, (now - began) * _SHARE)


def _standing(view: Snapshot, *, job: str) -> tuple[list[Path], bool]:
    """(where the values of a job lie, earlier submissions first; whether it has ended)."""
    known = view.job(job)
    if known is None:
        raise NotFound(f"job {job} was removed")
    folders = [Path(one.workdir) / VALUES for one in view.submissions(job) if one.workdir]
    return folders, known.state.ended


def _look(folders: Sequence[Path], offsets: Mapping[int, int]) -> list[_Grown]:
    """Logs with bytes beyond the offsets, in order of index; of the same task in several submissions,
    that of the last one. A log that is shorter than its offset was begun anew: it is read from 0."""
    logs: dict[int, tuple[Path, int]] = {}
    for folder in folders:
        try:
            fd = os.open(folder, _FOLDER)
        except OSError:
            continue  # not laid out yet, or gone with the results
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False) if _is_index(entry.name) else None
                    if status is not None and stat.S_ISREG(status.st_mode):
                        logs[int(entry.name)] = folder, status.st_size
        except OSError:
            continue
        finally:
            os.close(fd)
    grown = []
    for task, (folder, size) in sorted(logs.items()):
        offset = offsets.get(task, 0)
        if size != offset:
            grown.append(_Grown(folder, task, offset if offset < size else 0, size))
    return [log for log in grown if log.size_bytes > log.offset]


def _read(log: _Grown, offset: int, length: int) -> bytes:
    """Bytes of one log, never through a link; empty when it is not there any more."""
    try:
        folder = os.open(log.folder, _FOLDER)
        try:
            fd = os.open(str(log.task), _LOG, dir_fd=folder)
        finally:
            os.close(folder)
    except OSError:
        return b""
    try:
        return os.pread(fd, length, offset) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _is_index(name: str) -> bool:
    """Whether a name is a number as we write it."""
    return (
        name.isascii()
        and name.isdecimal()
        and len(name) <= _INDEX_DIGITS
        and (name == "0" or not name.startswith("0"))
    )
