"""Threads that read, each on a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import apsw

from .connect import Source
from .faults import disk_refused, storage_fault
from .snapshot import SqlSnapshot
from .work import Deliver, Lane, Work

__all__ = ["Readers", "serve_reads"]


class Readers:
    """Serve reads side by side; none waits for the writer."""

    def __init__(self, source: Source, count: int, deliver: Deliver, queue_limit: int) -> None:
        self.lane = Lane(queue_limit)
        self._source, self._deliver = source, deliver
        self._threads = [
            threading.Thread(target=self._run, name=f"store reader {number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def close(self, timeout_s: float) -> bool:
        """Serve what is queued, then end; whether all ended in time. Twice is harmless."""
        self.lane.close()
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        connection: apsw.Connection | None = None
        while works := self.lane.take(1):
            try:
                connection = connection or self._source.reader()
                if not serve_reads(connection, works):
                    connection.close(force=True)
                    connection = None
            except apsw.Error as error:
                works[0].error = storage_fault(error)
            self._deliver(works, ())
        if connection is not None:
            connection.close(force=True)


def serve_reads(connection: apsw.Connection, works: Sequence[Work]) -> bool:
    """Run reads, all on the same committed state; whether the connection is still good."""
    good = True
    try:
        connection.execute("BEGIN")
    except apsw.Error as error:
        for work in works:
            work.error = storage_fault(error)
        return False
    for work in works:
        view = SqlSnapshot(connection)
        try:
            work.value = work.run(view)
        except BaseException as error:
            refused = isinstance(error, apsw.Error) and disk_refused(error)
            work.error = storage_fault(error) if refused else error
            good = good and not refused
        finally:
            view.end()
    if connection.in_transaction:
        connection.execute("ROLLBACK")
    return good
