"""The same client for programs with an event loop.

It runs the calls of `Client` in threads of its own. So there is one transport (Unix socket, TCP, TLS,
ssh), one set of retries and one way to follow output over cuts, and what holds for the one client holds
for the other; a second HTTP stack would have to learn all of it again, and knows no ssh pipes. The price
is a thread for each call under way, which is small beside the wait that it stands for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .client import Client
from .errors import JobFailed

if TYPE_CHECKING:
    from ..model.cluster import ClusterInfo
    from ..model.job import Job, JobSpec
    from ..model.lifecycle import Operation
    from ..model.output import OutputPiece
    from ..model.task import Task
    from .handle import JobHandle
    from .pull import PullReport
    from .python.async_calls import AsyncCalls
    from .requests import JobPage, JobQuery

__all__ = ["AsyncClient"]

T = TypeVar("T")

THREADS = 32
WAIT_S = 10.0
"""One long poll; a cancelled wait holds its thread for no longer."""
_OVER = object()


class AsyncClient:
    """One server, for asyncio. Arguments as of `Client`. Use ``async with``, or `aclose`.

    Cancelling a call ends the waiting for it at once; the request itself runs out in its thread.
    """

    def __init__(self, server: str | None = None, **options: Any) -> None:
        self._client = Client(server, **options)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="shorepower")

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections; jobs are not touched. Twice is harmless."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def submit(self, *command: str | Path, **options: Any) -> JobHandle:
        """As `Client.submit`. The handle's own methods block: use those of this client with its id."""
        return await self._call(partial(self._client.submit, *command, **options))

    async def run(self, *command: str | Path, check: bool = True, **options: Any) -> JobHandle:
        """Submit, wait, bring the results home. Raises JobFailed unless ``check`` is False."""
        handle = await self.submit(*command, **options)
        handle.job = await self.wait(handle.id)
        await self._call(handle.pull)
        if check:
            handle.check()
        return handle

    async def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """As `Client.call`; for options of the job use `with_options`."""
        return await self.with_options().call(function, *args, **kwargs)

    async def spawn(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """As `Client.spawn`; its value is ``await client.result(handle.id)``."""
        return await self.with_options().spawn(function, *args, **kwargs)

    def map(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], chunksize: int | None = None
    ) -> AsyncIterator[Any]:
        """The values in order, each as soon as it is there; see `Client.map`."""
        return self.with_options().map(function, *iterables, chunksize=chunksize)

    def with_options(self, **options: Any) -> AsyncCalls:
        """As `Client.with_options`."""
        from .python.async_calls import AsyncCalls

        return AsyncCalls(self._client.with_options(**options), self._call)

    async def result(self, name: str) -> Any:
        """The value of a call, whatever process started it. Raises what the function raised."""
        return await self.with_options().result(name)

    async def exception(self, name: str) -> BaseException | None:
        """What `result` would raise; None for a value."""
        return await self.with_options().exception(name)

    async def submit_spec(self, spec: JobSpec, *, key: str | None = None) -> Job:
        """As `Client.submit_spec`."""
        return await self._call(partial(self._client.submit_spec, spec, key=key))

    async def job(self, name: str, *, revision: int | None = None, wait_s: float = 0.0) -> Job:
        """As `Client.job`."""
        return await self._call(partial(self._client.job, name, revision=revision, wait_s=wait_s))

    async def wait(self, name: str, *, results: bool = True, check: bool = False) -> Job:
        """The job once it has ended and (``results``) what it wrote is collected. Use `asyncio.timeout`
        to give up earlier; the job goes on. Raises JobFailed with ``check``."""
        from ..model.lifecycle import State

        job = await self.job(name)
        while not (job.state.ended and not (results and job.results.state.value == "saving")):
            job = await self.job(job.id, revision=job.revision, wait_s=WAIT_S)
        if check and job.state is not State.COMPLETED:
            raise JobFailed(job)
        return job

    async def jobs(self, wanted: JobQuery | None = None) -> JobPage:
        """As `Client.jobs`."""
        return await self._call(partial(self._client.jobs, wanted))

    async def tasks(self, name: str, **wanted: Any) -> list[Task]:
        """As `Client.tasks`, all at once."""
        return await self._call(lambda: list(self._client.tasks(name, **wanted)))

    async def control(self, name: str, operation: Operation, *, indices: str | None = None) -> Job:
        """As `Client.control`."""
        return await self._call(partial(self._client.control, name, operation, indices=indices))

    async def clusters(self) -> list[ClusterInfo]:
        """As `Client.clusters`."""
        return await self._call(self._client.clusters)

    async def pull(self, name: str, *globs: str, to: str | Path | None = None) -> PullReport:
        """Bring results home: all, or those that a glob names."""
        handle = await self._call(partial(self._client.handle, name))
        return await self._call(partial(handle.pull, *globs, to=to))

    async def output(
        self, name: str, *, cursor: str | None = None, follow: bool = True
    ) -> AsyncIterator[OutputPiece]:
        """A job's output piece by piece, over any cut; see `OutputReader`."""
        reader = self._client.output(name, cursor=cursor, follow=follow)
        pieces: Iterator[OutputPiece] = iter(reader)
        try:
            while (piece := await self._call(partial(next, pieces, _OVER))) is not _OVER:
                yield piece  # type: ignore[misc]
        finally:
            reader.abort()

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
