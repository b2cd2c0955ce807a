"""Peers that need more than a call: Dask's local cluster, HyperQueue's server and worker."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
def hyperqueue(root: Path) -> Iterator[list[str] | None]:
    """The beginning of an ``hq`` command, its server and one worker of all cpus up; None: not in PATH."""
    program = shutil.which("hq")
    if program is None:
        yield None
        return
    hq = [program, f"--server-dir={root / 'hq'}"]
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


def gnu_parallel() -> str | None:
    """GNU's program of that name; moreutils has another one."""
    program = shutil.which("parallel")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, check=False)
    return program if said.stdout.startswith(b"GNU parallel") else None
