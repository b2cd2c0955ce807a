"""Futures of calls, and the one thread that hears of all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...model.errors import Conflict
from ...model.lifecycle import Operation, State
from .. import requests
from .outcome import read_outcome

if TYPE_CHECKING:
    from ...model.job import Job
    from ..client import Client

__all__ = ["CallFuture", "Watcher", "watcher_of"]

POLL_S = 10.0
"""One long poll for news; how long the thread outlives its last future."""
FETCHERS = 4
"""Values that are fetched at the same time."""


class CallFuture(Future[Any]):
    """A call that runs as a job; ``job_id`` finds it again, from another process too."""

    def __init__(self, client: Client, job_id: str) -> None:
        super().__init__()
        self.client, self.job_id = client, job_id

    def __repr__(self) -> str:
        return f"<future of job {self.job_id} {self._state.lower()}>"

    def _ipython_display_(self) -> None:
        from ..notebook.live import show

        show(self, self.client, self.job_id)

    def cancel(self) -> bool:
        """Stop a job that does not run yet. False when it does, or has ended: `stop` ends one that runs."""
        if self.done() or self.running():
            return self.cancelled()
        try:
            self.client.control(self.job_id, Operation.STOP)
        except Conflict:
            return False
        return _cancel(self)

    def stop(self) -> None:
        """Stop the job in any state; its result is an exception then."""
        self.client.control(self.job_id, Operation.STOP)


class Watcher:
    """Hears of every job of the caller in one long poll, and settles the futures of those that ended."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._futures: dict[str, list[CallFuture]] = {}
        self._expecting = 0
        self._early: dict[str, State] = {}
        """News of jobs that no future stands for yet, while somebody makes one."""
        self._thread: threading.Thread | None = None
        self._fetchers = ThreadPoolExecutor(FETCHERS, thread_name_prefix="shorepower-values")

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """No news of a job that is submitted or looked at within this block is lost."""
        with self._lock:
            if self._thread is None:
                after = self._client.patiently(requests.events()).next
                self._thread = threading.Thread(
                    target=self._run, args=(after,), name="shorepower-news", daemon=True
                )
                self._thread.start()
            self._expecting += 1
        try:
            yield
        finally:
            with self._lock:
                self._expecting -= 1
                if not self._expecting:
                    self._early.clear()

    def add(self, future: CallFuture, job: Job) -> None:
        """Settle this future in time; within `expecting`."""
        with self._lock:
            self._futures.setdefault(job.id, []).append(future)
            state = self._early.get(job.id, job.state)
        if state is not State.PENDING:
            self._hear(job.id, state)

    def _run(self, after: int) -> None:
        while True:
            try:
                page = self._client.patiently(requests.events(after=after, wait_s=POLL_S))
            except Exception as error:  # nobody answers any more: whoever waits is told
                self._give_up(error)
                return
            after = page.next
            for event in page.events:
                state = event.body.get("state")
                if state is not None:
                    self._hear(event.job, State(state))
            with self._lock:
                if not self._futures and not self._expecting:
                    self._thread = None
                    return

    def _hear(self, job: str, state: State) -> None:
        with self._lock:
            if self._expecting and job not in self._futures:
                self._early[job] = state
            futures = self._futures.pop(job, []) if state.ended else list(self._futures.get(job, ()))
        for future in futures:
            if state.ended:
                self._fetchers.submit(_settle, self._client, future)
            elif state is State.RUNNING:
                _run(future)

    def _give_up(self, error: Exception) -> None:
        with self._lock:
            self._thread = None
            futures = [future for some in self._futures.values() for future in some]
            self._futures.clear()
        for future in futures:
            _set(future, None, error)


def watcher_of(client: Client) -> Watcher:
    """The one of this client."""
    with _making:
        found = getattr(client, "_watcher", None)
        if found is None:
            found = client._watcher = Watcher(client)  # type: ignore[attr-defined]
        return found


_making = threading.Lock()


def _settle(client: Client, future: CallFuture) -> None:
    """Fetch what became of an ended job."""
    if future.done():
        return
    try:
        outcome, _ = read_outcome(client, future.job_id)
    except Exception as error:
        _set(future, None, error)
    else:
        _set(future, outcome.value, outcome.error)


def _run(future: CallFuture) -> None:
    try:
        if not future.running() and not future.done():
            future.set_running_or_notify_cancel()
    except (InvalidStateError, RuntimeError):
        pass  # cancelled at the same moment


def _set(future: CallFuture, value: Any, error: BaseException | None) -> None:
    try:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
    except InvalidStateError:
        pass  # cancelled at the same moment


def _cancel(future: CallFuture) -> bool:
    if not Future.cancel(future):
        return False
    try:
        future.set_running_or_notify_cancel()  # whoever waits in concurrent.futures.wait hears of it
    except (InvalidStateError, RuntimeError):
        pass  # somebody else told it
    return True
