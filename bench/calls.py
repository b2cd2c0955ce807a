"""One function that does nothing, called and waited for, beside those who call functions elsewhere too."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from peers import dask_client
from place import ABSENT, CPUS, Row, at_size, in_turns, ms, nothing, nothing_by_value, place

ROUNDS = at_size(15, 1)
OURS, BARE = "`client.call` of a function that does nothing, warm", "`python -c pass`"
WORKERS = "its workers stand ready"


def measure() -> Iterator[Row]:
    """A job, durable and a process of its own, each time; beside a bare start and warm pools."""
    with place() as here, ExitStack() as opened:
        opened.enter_context(here.inside(here.folder("project")))
        # the pool's processes are forked now, while this process has one thread
        pool = opened.enter_context(ProcessPoolExecutor(CPUS))
        pool.submit(nothing).result()
        from shorepower import Client

        client, function = opened.enter_context(Client()), nothing_by_value()
        acts: dict[str, Callable[[], object]] = {
            OURS: lambda: client.call(function),
            BARE: lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
            f"`ProcessPoolExecutor`, {WORKERS}": lambda: pool.submit(nothing).result(),
        }
        acts |= _submitit(here.root / "submitit", function)
        dask = opened.enter_context(dask_client(here.root))
        if dask is not None:
            acts[f"Dask distributed, {WORKERS}"] = lambda: dask.submit(function, pure=False).result()
        taken = in_turns(ROUNDS, *acts.values(), settle=lambda: client.wait("@-1"))
    medians = dict(zip(acts, taken, strict=True))
    ours = medians.pop(OURS)
    for name, peer in medians.items():
        more = f", {ms(ours - peer)} more" if name == BARE else ""
        reach = "≤ 40 ms more" if name == BARE else ""
        yield Row(OURS, ms(ours), f"{name} {ms(peer)}", f"{ours / peer:.2f}{more}", reach)
    for peer_module, name in {"submitit": "submitit", "distributed": "Dask distributed"}.items():
        if find_spec(peer_module) is None:
            yield Row(OURS, ms(ours), f"{name} {ABSENT}", "")


def _submitit(folder: Path, function: Callable[..., object]) -> dict[str, Callable[[], object]]:
    """Its ``result()`` looks once a second; asked more often, it shows what the call itself takes."""
    if find_spec("submitit") is None:
        return {}
    import submitit

    executor = submitit.LocalExecutor(folder)

    def asked_often() -> object:
        job = executor.submit(function)
        while not job.done():
            time.sleep(0.005)
        return job.result()

    return {
        "submitit `LocalExecutor`, `result()`": lambda: executor.submit(function).result(),
        "submitit `LocalExecutor`, asked each 5 ms": asked_often,
    }
