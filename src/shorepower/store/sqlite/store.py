"""The store: opened on an event loop, used from it, closed from it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw
from anyio import CancelScope, CapacityLimiter, to_thread
from msgspec import Struct

from ...model.errors import InvalidRequest, StorageFault
from ...model.events import Event
from ..contract import Snapshot, Store, Transaction
from .connect import MEMORY, Source, refuse_old_library
from .faults import storage_fault
from .migrate import Migration, bundled, copy_into, migrate
from .readers import Readers
from .work import Kind, Lane, Work
from .writer import Writer

__all__ = ["SqliteStore", "Tuning", "open_store"]

T = TypeVar("T")

_CLOSE_TIMEOUT_S = 60.0

_SWITCH_INTERVAL_S = 0.00005
"""A thread gets the interpreter from a busy event loop only when it waits longer than this without the
loop's having looked for news meanwhile, and SQLite lets go of the interpreter at every step. With
Python's 5 ms and a loop that is never idle one write was seen to take 57 s; with this, 2 to 10 ms."""


class Tuning(Struct, frozen=True, kw_only=True):
    """Figures that hardly anyone changes."""

    queue_limit: int = 4096
    """Units that may wait; one more is Busy."""
    batch_limit: int = 256
    """Units that share one commit."""
    busy_timeout_s: float = 5.0
    """How long to wait for another program that has the database locked."""
    library: str | None = None
    """Version of the SQLite library; None asks it."""
    migrations: Path | None = None
    """Folder of the numbered scripts; None takes those of this version."""


async def open_store(
    path: str | os.PathLike[str], *, readers: int = 2, exclusive: bool = False, tuning: Tuning | None = None
) -> SqliteStore:
    """Open the database at ``path``, made and brought to this version's schema where needed.

    ``exclusive`` is for network file systems: no other process and no other connection, so reads wait
    for the writer. Raises StateDirectoryFault, in words, when the database cannot be used.

    Shortens the interpreter's switch interval for the whole process, so that a busy event loop does not
    starve the store's threads.
    """
    tuning = tuning or Tuning()
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
    refuse_old_library(tuning.library or apsw.sqlite_lib_version())

    def open_file() -> tuple[Source, apsw.Connection, Callable[[], apsw.Connection]]:
        place = MEMORY if os.fspath(path) == MEMORY else os.fspath(Path(path).absolute())
        source = Source(path=place, exclusive=exclusive, busy_timeout_s=tuning.busy_timeout_s)
        connect = partial(_connect, source, bundled(tuning.migrations))
        source.claim()
        return source, connect(), connect

    source, connection, connect = await to_thread.run_sync(open_file, limiter=CapacityLimiter(1))
    return SqliteStore(source, connection, connect, readers=readers, tuning=tuning)


def _connect(source: Source, known: Sequence[Migration]) -> apsw.Connection:
    connection = source.writer()
    try:
        migrate(connection, source.path, known)
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except BaseException:
        connection.close(force=True)
        raise
    return connection


class SqliteStore(Store):
    """See `Store`; made by `open_store`."""

    def __init__(
        self,
        source: Source,
        connection: apsw.Connection,
        connect: Callable[[], apsw.Connection],
        *,
        readers: int,
        tuning: Tuning,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source, self._identity = source, source.identity()
        self._hearers: dict[object, Callable[[Sequence[Event]], None]] = {}
        self._side_work = CapacityLimiter(1)
        self._writer = Writer(
            connection,
            None if source.in_memory else connect,
            self._deliver,
            guard=self._still_there,
            queue_limit=tuning.queue_limit,
            batch_limit=tuning.batch_limit,
        )
        self._readers = None
        if readers > 0 and not source.alone:
            self._readers = Readers(source, readers, self._deliver, tuning.queue_limit)

    @property
    def commits(self) -> int:
        """How many transactions were committed since the store was opened."""
        return self._writer.commits

    async def write(self, unit: Callable[[Transaction], T]) -> T:
        """See `Store.write`. A caller that is cancelled before its batch begins has not written; after
        that it may have."""
        return await self._ask(self._writer.lane, Kind.WRITE, unit)

    async def read(self, unit: Callable[[Snapshot], T]) -> T:
        """See `Store.read`. Raises StorageFault when the disk refuses, Busy when too many wait."""
        lane = self._readers.lane if self._readers else self._writer.lane
        return await self._ask(lane, Kind.READ, unit)

    def subscribe(self, hear: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """See `Store.subscribe`. Whoever waits for the write hears after the subscribers."""
        key = object()
        self._hearers[key] = hear

        def end() -> None:
            self._hearers.pop(key, None)

        return end

    async def backup(self, target: str) -> None:
        """See `Store.backup`. An older copy of that name is replaced once the new one is complete.

        Raises StorageFault; an incomplete copy is never left. Without readers, writes wait meanwhile.
        """
        if self._readers is None:
            copy = partial(_copy, path=self._source.path, target=target)
            await self._ask(self._writer.lane, Kind.ALONE, copy)
        else:
            await to_thread.run_sync(self._copy_aside, target, limiter=self._side_work)

    async def aclose(self) -> None:
        """See `Store.aclose`. Raises StorageFault when it takes longer than a minute."""
        with CancelScope(shield=True):
            if not await to_thread.run_sync(self._close, limiter=self._side_work):
                raise StorageFault(f"the store did not close within {_CLOSE_TIMEOUT_S:.0f} s")

    async def _ask(self, lane: Lane, kind: Kind, unit: Callable[[Any], T]) -> T:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("a store is used on the event loop that opened it")
        answer: asyncio.Future[T] = self._loop.create_future()
        lane.put(Work(kind, unit, answer))
        return await answer

    def _still_there(self) -> None:
        """A file that was moved or removed takes writes as before, and they are lost with it."""
        if self._source.identity() != self._identity:
            raise StorageFault(
                f"the job database {self._source.path} was moved, removed or replaced while in use: "
                "put it back, or start the server anew"
            )

    def _close(self) -> bool:
        read = self._readers is None or self._readers.close(_CLOSE_TIMEOUT_S)
        return self._writer.close(_CLOSE_TIMEOUT_S) and read

    def _copy_aside(self, target: str) -> None:
        try:
            connection = self._source.reader()
        except apsw.Error as error:
            raise storage_fault(error) from error
        try:
            _copy(connection, path=self._source.path, target=target)
        finally:
            connection.close()

    def _deliver(self, works: Sequence[Work], news: Sequence[Event]) -> None:
        """From any thread: settle on the loop, news first."""
        try:
            self._loop.call_soon_threadsafe(self._settle, works, news)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    def _settle(self, works: Sequence[Work], news: Sequence[Event]) -> None:
        if news:
            for hear in tuple(self._hearers.values()):
                try:
                    hear(news)
                except Exception as error:
                    self._loop.call_exception_handler(
                        {"message": "a subscriber of the store failed", "exception": error}
                    )
        for work in works:
            work.settle()


def _copy(connection: apsw.Connection, *, path: str, target: str) -> None:
    if Path(target).resolve() == Path(path).resolve():
        raise InvalidRequest("a backup needs another place than the database itself")
    try:
        copy_into(connection, target)
    except apsw.Error as error:
        raise storage_fault(error) from error
    except OSError as error:
        raise StorageFault(f"no backup was made at {target}: {error.strerror}") from error
