"""A backend of joblib that makes each batch a call in a job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from joblib import register_parallel_backend
from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from ...model.errors import ShorepowerError
from ..python.executor import Executor
from ..python.remote import default_client

if TYPE_CHECKING:
    from ..client import Client
    from ..python.futures import CallFuture

__all__ = ["JobsBackend", "register"]

NAME = "shorepower"


def register() -> None:
    """Let joblib know the backend ``"shorepower"``."""
    register_parallel_backend(NAME, JobsBackend)


class JobsBackend(AutoBatchingMixin, ParallelBackendBase):
    """``client`` is the server to ask, by default that which `shore` itself would use; the other options
    are those of `Client.with_options`, for each job. ``n_jobs=-1`` is as many as there are cpus for."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    MIN_IDEAL_BATCH_DURATION = 1.0
    """Seconds inside the function, below which the next batches are larger: a job takes longer to start
    than a task of a pool."""
    MAX_IDEAL_BATCH_DURATION = 10

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        client: Client | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level or 0, inner_max_num_threads=inner_max_num_threads)
        if inner_max_num_threads is not None:
            limits = dict.fromkeys(self.MAX_NUM_THREADS_VARS, str(inner_max_num_threads))
            options["env"] = {**limits, **options.get("env", {})}
        self.parallel: Any = None
        self._client, self._options = client, options
        self._executor: Executor | None = None
        self._lock = threading.Lock()
        self._running: set[CallFuture] = set()
        self._measured = threading.local()
        """What the thread that heard of a batch learned of it."""

    def effective_n_jobs(self, n_jobs: int | None) -> int:  # type: ignore[bad-override]
        """How many jobs may run at the same time. Raises ValueError for 0, Unreachable."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        return max(1, self._open().slots + 1 + n_jobs)

    def submit(  # type: ignore[bad-override]
        self, func: Callable[[], Any], callback: Callable[[Any], None] | None = None
    ) -> Future[Any]:
        """Start a batch. What cannot be started is told like what failed: joblib waits for nothing else."""
        future: Future[Any]
        try:
            future = self._open().submit(_timed(func))
        except Exception as error:
            future = Future()
            future.set_exception(error)
        else:
            self._keep(future)  # type: ignore[arg-type]
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """What the batch gave, or raised."""
        results, self._measured.seconds = out.result()
        return results

    def batch_completed(self, batch_size: int, duration: float) -> None:
        """Learn how long a batch took; waiting in the queue and the start of a job do not count."""
        seconds = self._measured.seconds
        with self._lock:
            if batch_size == self._effective_batch_size:
                known = self._smoothed_batch_duration
                self._smoothed_batch_duration = seconds if not known else 0.8 * known + 0.2 * seconds

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stop every job that has not ended."""
        with self._lock:
            running = list(self._running)
            self._running.clear()
        for future in running:
            if not future.cancel() and not future.done():
                _stop(future)

    def terminate(self) -> None:
        """Nothing is kept between calls of Parallel; what still runs is of no use to anybody."""
        self.abort_everything(ensure_ready=False)
        self.reset_batch_stats()

    def _open(self) -> Executor:
        with self._lock:
            if self._executor is None:
                client = self._client or default_client()
                self._executor = Executor(client, **({"name": "joblib"} | self._options))
            return self._executor

    def _keep(self, future: CallFuture) -> None:
        with self._lock:
            self._running.add(future)
        future.add_done_callback(self._running.discard)


def _timed(function: Callable[[], Any]) -> Callable[[], tuple[Any, float]]:
    """Tells how long the function took, with what it gives. It travels by value: the job needs joblib, and
    nothing of ours."""

    def run() -> tuple[Any, float]:
        from time import perf_counter

        began = perf_counter()
        return function(), perf_counter() - began

    return run


def _stop(future: CallFuture) -> None:
    try:
        future.stop()
    except ShorepowerError:
        pass  # it has ended meanwhile, or nobody answers: the error that made us stop is the one to tell
