"""Peers that need more than a call: Dask's local cluster, HyperQueue's server and worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from place import CPUS

START_S = 30.0
"""How long a peer may take to start."""


@contextmanager
def dask_client(root: Path) -> Iterator[Any]:
    """A ``distributed.Client`` whose worker processes, one thread each, are up; None: not installed."""
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        yield None
        return
    with (
        LocalCluster(
            n_workers=CPUS,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(root / "dask"),
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(CPUS, timeout=START_S)
        yield client


@contextmanager
def hyperqueue(root: Path) -> Iterator[Callable[[int], object] | None]:
    """Runs so many tasks that do nothing as one job, to its end; server and worker (all cpus) are up.

    By the program ``hq`` where it is in PATH, else by the Python package ``hyperqueue``; None: neither is
    there.
    """
    program = shutil.which("hq")
    if program is not None:
        with _hq_program(program, root / "hq") as hq:
            words = ["--stdout=none", "--stderr=none", "--wait", "true"]
            yield lambda count: subprocess.run(
                [*hq, "submit", f"--array=1-{count}", *words], check=True, capture_output=True
            )
        return
    if find_spec("hyperqueue") is None:
        yield None
        return
    with _hq_package(root / "hq") as run:
        yield run


@contextmanager
def _hq_program(program: str, folder: Path) -> Iterator[list[str]]:
    """The beginning of an ``hq`` command."""
    hq = [program, f"--server-dir={folder}"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [subprocess.Popen([*hq, "server", "start"], **quiet)]
    try:
        deadline = time.monotonic() + START_S
        while subprocess.run([*hq, "job", "list"], check=False, **quiet).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server of hq did not answer within {START_S:g} s")
            time.sleep(0.05)
        started.append(subprocess.Popen([*hq, "worker", "start", f"--cpus={CPUS}"], **quiet))
        subprocess.run([*hq, "worker", "wait", "1"], check=True, timeout=START_S, **quiet)
        yield hq
    finally:
        subprocess.run([*hq, "server", "stop"], check=False, timeout=START_S, **quiet)
        for process in reversed(started):
            process.terminate()
            process.wait(START_S)


@contextmanager
def _hq_package(folder: Path) -> Iterator[Callable[[int], None]]:
    """Its own wait looks once a second; asked each 5 ms, it shows what the tasks take."""
    from hyperqueue.cluster import LocalCluster, WorkerConfig  # pyrefly: ignore  # may be absent
    from hyperqueue.job import Job  # pyrefly: ignore  # may be absent

    def look(seen: dict[int, Any]) -> None:
        raise _Seen(all(job["completed"] for job in seen.values()))

    with _silent(), LocalCluster(str(folder), WorkerConfig(cores=CPUS)) as cluster:
        client = cluster.client()

        def run(count: int) -> None:
            job = Job()
            for _ in range(count):
                job.program(["true"], stdout=None, stderr=None)
            number = client.submit(job).id
            while True:
                try:
                    client.connection.wait_for_jobs((number,), look)
                except _Seen as seen:
                    if seen.ended:
                        return
                time.sleep(0.005)

        run(1)  # the worker has come
        yield run


class _Seen(Exception):
    """How a wait is left after one look."""

    def __init__(self, ended: bool) -> None:
        super().__init__()
        self.ended = ended


@contextmanager
def _silent() -> Iterator[None]:
    """What programs print below Python does not come into the table."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def gnu_parallel() -> str | None:
    """GNU's program of that name; moreutils has another one."""
    program = shutil.which("parallel")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, check=False)
    return program if said.stdout.startswith(b"GNU parallel") else None
