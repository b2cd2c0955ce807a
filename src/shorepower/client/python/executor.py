"""An executor of `concurrent.futures` whose workers are jobs."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from .futures import CallFuture, watcher_of

if TYPE_CHECKING:
    from ..client import Client
    from ..engines.dask import DaskClient

__all__ = ["Executor", "future_of"]

T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """``submit`` makes a job of each call, ``map`` one job of all.

    ``client`` is the server to ask (without one: that which `shore` itself would use, asked by a client
    of the executor's own); the other options are those of `Client.with_options`. Jobs outlive the
    program: `attach` gives the future of one again.
    """

    def __init__(self, client: Client | None = None, **options: Any) -> None:
        from ..client import Client

        self._own = client is None
        self.client: Client = client if client is not None else Client()
        self._calls = self.client.with_options(**options)
        self._watcher = watcher_of(self.client)
        self._lock = threading.Lock()
        self._shut = False
        self._futures: weakref.WeakSet[CallFuture] = weakref.WeakSet()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        """Start a job. The future has its ``job_id``. Raises CannotSend at once for what cannot be
        pickled."""
        self._check_open()
        with self._watcher.expecting():
            job = self._calls.spawn(fn, *args, **kwargs).job
            future = CallFuture(self.client, job.id)
            self._keep(future)
            self._watcher.add(future, job)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 0,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """One job of many tasks; the values in order, each as soon as it is there. ``chunksize`` is how
        many items a task runs; 0 leaves it to us. Raises what the first item that failed raised, and
        TimeoutError; ``buffersize`` is not used: all items are sent at once."""
        self._check_open()
        job = self._calls.map(fn, *iterables, chunksize=chunksize or None)
        deadline = None if timeout is None else time.monotonic() + timeout
        return job.results(deadline)

    def dask(self, workers: int | None = None, **options: Any) -> DaskClient:
        """A `distributed.Client` whose scheduler and workers are jobs; see `start_dask`."""
        from ..engines.dask import start_dask

        return start_dask(self._calls.with_options(**options), workers)

    @property
    def slots(self) -> int:
        """How many calls the cluster has cpus for at the same time."""
        return self._calls.slots

    def attach(self, job_id: str) -> concurrent.futures.Future[Any]:
        """The future of a call that was submitted before, by whatever process. Raises NotFound."""
        self._check_open()
        future = future_of(self.client, job_id)
        self._keep(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls. ``cancel_futures`` stops those that do not run yet, ``wait`` waits for the
        others; without it they go on as jobs."""
        with self._lock:
            self._shut = True
            futures = list(self._futures)
        if cancel_futures:
            for future in futures:
                future.cancel()
        if wait:
            concurrent.futures.wait(futures)
            if self._own:
                self.client.close()

    def _keep(self, future: CallFuture) -> None:
        with self._lock:
            self._futures.add(future)

    def _check_open(self) -> None:
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")


def future_of(client: Client, name: str) -> CallFuture:
    """The future of a call by its job. Raises NotFound."""
    watcher = watcher_of(client)
    with watcher.expecting():
        job = client.job(name)
        future = CallFuture(client, job.id)
        watcher.add(future, job)
    return future
