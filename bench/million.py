"""An array of a million tasks: accepted, listed, stopped, and what the server's memory says to it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from place import Row, at_size, ms, place, seconds

if TYPE_CHECKING:
    from shorepower import Client

TASKS, ROUNDS = at_size(1_000_000), at_size(5, 1)
PAGE = 50
"""Tasks of the first page."""
NO_PEER = "no peer measured"


def measure() -> Iterator[Row]:
    """Tasks that sleep: as many as there are cpus run, all others wait. Medians over arrays one by one."""
    taken: dict[str, list[float]] = {"accepted": [], "listed": [], "recorded": [], "ended": []}
    with place() as here, here.inside(here.folder("project")):
        from shorepower import Client

        with Client() as client:
            pid = client.server().pid
            _one(client, 3)  # to warm up
            before = _resident_mb(pid)
            for number in range(ROUNDS):
                figures, living = _one(client, TASKS, pid)
                for name, took in figures.items():
                    taken[name].append(took)
                if number == 0:
                    first, after_first = living, _resident_mb(pid)
            last = _resident_mb(pid)
    middle = {name: statistics.median(values) for name, values in taken.items()}
    what = f"array of {TASKS:,} tasks"
    yield Row(f"{what}: `client.submit`", ms(middle["accepted"]), NO_PEER, "", "≤ 1 s")
    listing = f"{what}: list of jobs and first {PAGE} tasks"
    yield Row(listing, ms(middle["listed"]), NO_PEER, "", "≤ 200 ms")
    yield Row(f"{what}: stop recorded", ms(middle["recorded"]), NO_PEER, "", "≤ 200 ms")
    yield Row(f"{what}: from stop to its end", ms(middle["ended"]), NO_PEER, "")
    memory = f"{before:.0f} MB before, {first:.0f} with it, {after_first:.0f} after its stop"
    rest = f", {last:.0f} after {ROUNDS}" if ROUNDS > 1 else ""
    yield Row(f"{what}: resident memory of the server", memory + rest, NO_PEER, "")


def _one(client: Client, tasks: int, pid: int | None = None) -> tuple[dict[str, float], float]:
    """Seconds of each step of one array's life, and the server's memory in MB while it lived."""
    from shorepower.model.lifecycle import Operation

    began = time.perf_counter()
    job = client.submit("sleep", "600", command=True, array=f"0-{tasks - 1}").id
    accepted = time.perf_counter() - began

    def look() -> None:
        assert client.jobs().jobs[0].id == job
        assert len(list(client.tasks(job, most=PAGE))) == min(PAGE, tasks)

    listed = seconds(look)
    living = _resident_mb(pid) if pid is not None else 0.0
    recorded = seconds(lambda: client.control(job, Operation.STOP))
    ended = recorded + seconds(lambda: client.wait(job, timeout_s=300))
    return {"accepted": accepted, "listed": listed, "recorded": recorded, "ended": ended}, living


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kib) * 1024 / 1e6
