"""Dask as jobs: a scheduler, its workers, and a client that ends them when it is closed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import distributed
from distributed.security import Security
from msgspec.structs import replace

from ...model.errors import ShorepowerError
from ...model.lifecycle import Operation
from ..python.sources import send_source

if TYPE_CHECKING:
    from ..handle import JobHandle
    from ..python.calls import Calls

__all__ = ["DaskClient", "start_dask"]

START_S = 300.0
"""How long the scheduler may wait in the queue."""
ALONE_S = 60
"""A scheduler without any client ends after this long, and its workers with it: nobody is left to do so."""
SCHEDULER_CPUS = 0.1
"""It mostly waits; where cpus are given out whole it takes one."""
PAUSE_S = 0.2
MEDIA_TYPE = "text/x-python"
LOCAL = "local"
_MARK = "shorepower-dask "
_SECRET = "DASK_IDENTITY"  # noqa: S105 - a name


class DaskClient(distributed.Client):
    """A client of Dask over two jobs of ours; closing it stops them."""

    def __init__(self, scheduler: JobHandle, workers: JobHandle, address: str, security: Security) -> None:
        self.jobs = (scheduler, workers)
        """The scheduler's, and the one whose tasks are the workers."""
        self._stopped = False
        super().__init__(address, security=security, timeout=START_S)

    def close(self, *args: Any, **kwargs: Any) -> Any:
        """Disconnect, and stop scheduler and workers. Harmless twice, and when the scheduler is gone."""
        try:
            return super().close(*args, **kwargs)
        except (OSError, ValueError, TimeoutError):  # what Dask says of a connection that is gone already
            if not self.jobs[0].refresh().state.ended:
                raise
            return None
        finally:
            if not self._stopped:
                self._stopped = True
                _stop(*self.jobs)


def start_dask(calls: Calls, workers: int | None = None) -> DaskClient:
    """Start a scheduler, and workers (None: as many as the cluster has cpus for) with the resources of
    these calls, in the project; return as soon as the scheduler answers.

    All of them speak TLS with one key that is made here: it reaches the jobs as a secret, and nobody
    connects without it. On the cluster ``local`` they listen at 127.0.0.1 alone. Raises DaskLost,
    InvalidRequest, TimeoutError.
    """
    count = calls.slots if workers is None else workers
    if count < 1:
        raise ValueError("workers is 1 or more")
    security = Security.temporary()
    host = "127.0.0.1" if calls.cluster == LOCAL else "-"
    scheduler = _start(calls, security, ["scheduler", host, str(ALONE_S)], name="dask-scheduler")
    begun = [scheduler]
    try:
        address = _address_of(scheduler)
        memory = str((calls.options.memory_mib or 0) << 20)
        threads = str(max(1, int(calls.cpus)))
        begun.append(_start(calls, security, ["worker", host, address, threads, memory], tasks=count))
        return DaskClient(scheduler, begun[1], address, security)
    except BaseException:
        _stop(*begun)
        raise


class DaskLost(ShorepowerError):
    """The scheduler's job ended before it could be connected to."""


def _start(
    calls: Calls, security: Security, arguments: list[str], *, name: str = "dask-worker", tasks: int = 0
) -> JobHandle:
    options = replace(calls.options, name=name, secrets=(*calls.options.secrets, _SECRET))
    if tasks:
        options = replace(options, array=f"0-{tasks - 1}", cpus=_cpus_of_worker(calls, tasks))
    else:
        cpus = SCHEDULER_CPUS if calls.cluster == LOCAL else 1.0
        options = replace(options, cpus=cpus, gpus=None, memory_mib=None)
    certificate, key = security.tls_ca_file, security.tls_client_key  # type: ignore[missing-attribute]
    source = Path(__file__).parent / "travelling" / "shore_dask.py"
    return send_source(
        calls.client,
        calls.program,
        source.read_bytes(),
        arguments,
        options,
        media_type=MEDIA_TYPE,
        ask_secret=lambda _: f"{certificate.strip()}\n\n{key.strip()}\n",
    )


def _cpus_of_worker(calls: Calls, count: int) -> float:
    """What was asked for; of a machine that they fill, less what the scheduler needs beside them."""
    asked = calls.cpus
    left = calls.cluster_cpus - SCHEDULER_CPUS
    if calls.cluster == LOCAL and left < asked * count <= calls.cluster_cpus:
        return max(0.01, left / count // 0.01 / 100)
    return asked


def _address_of(scheduler: JobHandle) -> str:
    """What it says once it listens. Raises DaskLost, TimeoutError."""
    deadline = time.monotonic() + START_S
    while True:
        said = scheduler.logs()
        for line in said.splitlines():
            if line.startswith(_MARK):
                return line.removeprefix(_MARK).strip()
        job = scheduler.refresh()
        if job.state.ended:
            last = (scheduler.logs().strip().splitlines() or [job.why])[-1]
            raise DaskLost(f"the scheduler ({job.id}) {job.state.value.lower()}: {last}")
        if time.monotonic() > deadline:
            state = job.state.value.lower()
            raise TimeoutError(
                f"the scheduler ({job.id}) is still {state} after {START_S:.0f} s: {job.why}"
            )
        time.sleep(PAUSE_S)


def _stop(*jobs: JobHandle) -> None:
    for handle in jobs:
        try:
            handle.client.control(handle.id, Operation.STOP)
        except Exception:
            pass  # it has ended, or nobody answers; without a client the scheduler ends by itself
