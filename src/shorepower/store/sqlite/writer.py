"""The one thread that writes: units of several callers share one commit, and so one flush of the disk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import apsw
import structlog

from ...model.errors import StateDirectoryFault, StorageFault
from ...model.events import Event
from .faults import disk_refused, in_words, storage_fault
from .readers import serve_reads
from .transaction import SqlTransaction
from .work import Deliver, Kind, Lane, Work

__all__ = ["Writer"]

log = structlog.get_logger(__name__)

# After these the connection may know things that are no longer so; the next batch opens another.
_DISTRUST = (
    apsw.IOError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
    apsw.ProtocolError,
    apsw.ConnectionClosedError,
)


class Writer:
    """Takes units from its lane; each is undone alone when it raises, all when the disk refuses."""

    def __init__(
        self,
        connection: apsw.Connection,
        reopen: Callable[[], apsw.Connection] | None,
        deliver: Deliver,
        *,
        guard: Callable[[], None],
        queue_limit: int,
        batch_limit: int,
    ) -> None:
        """``reopen`` makes another connection to the same database; None where there can be none.
        ``guard`` raises StorageFault when what is written now would be lost."""
        self.lane = Lane(queue_limit)
        self.commits = 0
        """How many transactions have been committed."""
        self._connection: apsw.Connection | None = connection
        self._reopen, self._deliver, self._guard = reopen, deliver, guard
        self._batch_limit = batch_limit
        self._thread = threading.Thread(target=self._run, name="store writer", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Do what is queued, copy the log into the database, end; whether that was in time."""
        self.lane.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while works := self.lane.take(self._batch_limit):
            wanted = [work for work in works if not work.answer.cancelled()]
            for kind, serve in (
                (Kind.READ, self._read),
                (Kind.WRITE, self._write),
                (Kind.ALONE, self._alone),
            ):
                if batch := [work for work in wanted if work.kind is kind]:
                    serve(batch)
        self._shut()

    def _read(self, works: Sequence[Work]) -> None:
        """Before the writes of the same batch: nobody sees what may still be undone."""
        try:
            serve_reads(self._connected(), works)
        except (apsw.Error, StateDirectoryFault) as error:
            self._refuse(works, error)
        self._deliver(works, ())

    def _write(self, works: Sequence[Work]) -> None:
        news: list[Event] = []
        try:
            self._guard()
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            for work in works:
                news += _one(connection, work)
            connection.execute("COMMIT")
            self.commits += 1
        except BaseException as error:
            # Whatever it is, the thread lives on, nothing of the batch stays, and everyone hears of it.
            news = []
            self._undo()
            self._refuse(works, error)
        self._deliver(works, news)

    def _alone(self, works: Sequence[Work]) -> None:
        for work in works:
            try:
                work.value = work.run(self._connected())
            except BaseException as error:
                work.error = storage_fault(error) if isinstance(error, apsw.Error) else error
        self._deliver(works, ())

    def _refuse(self, works: Sequence[Work], error: BaseException) -> None:
        cause = in_words(error) if isinstance(error, apsw.Error) else str(error)
        log.warning("the store refused a batch", cause=cause, units=len(works))
        if isinstance(error, _DISTRUST):
            self._drop()
        for work in works:
            work.value = None
            if isinstance(error, apsw.Error):
                work.error = storage_fault(error)
            else:
                work.error = StorageFault(f"{error or repr(error)}; nothing was changed")
            work.error.__cause__ = error

    def _undo(self) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error:
            self._drop()

    def _connected(self) -> apsw.Connection:
        if self._connection is None:
            assert self._reopen is not None
            self._connection = self._reopen()
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None and self._reopen is not None:
            self._connection.close(force=True)
            self._connection = None

    def _shut(self) -> None:
        if self._connection is None:
            return
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error as error:
            log.warning("the write-ahead log stays; the next start replays it", cause=in_words(error))
        self._connection.close(force=True)


def _one(connection: apsw.Connection, work: Work) -> Sequence[Event]:
    """Run one unit in a savepoint; the events it appended. Raises apsw.Error when the disk refused: by
    SQLite's rules the whole transaction may be gone then. Source: https://sqlite.org/lang_transaction.html"""
    tx = SqlTransaction(connection)
    connection.execute("SAVEPOINT unit")
    try:
        work.value = work.run(tx)
    except BaseException as error:
        if disk_refused(error):
            raise
        connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")
        work.error = error
        return ()
    finally:
        tx.end()
    connection.execute("RELEASE unit")
    return tx.news
