"""No-op jobs end to end: each durable, each a real process, beside xargs."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator

from place import Row, at_size, place, seconds

JOBS, CALLERS = at_size(1000, 8), 8


def measure() -> Iterator[Row]:
    """1,000 × ``true``: submitted, run, ended, results looked for."""
    with place() as here:
        os.environ.update(here.env)
        from shorepower import Client
        from shorepower.client.requests import JobQuery
        from shorepower.model.job import JobSpec

        def submit(number: int) -> None:
            with Client() as mine:
                for count in range(JOBS // CALLERS):
                    mine.submit_spec(JobSpec(name=f"{number}-{count}", argv=("true",)))

        began = time.perf_counter()
        threads = [threading.Thread(target=submit, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Client() as client:
            while (counts := client.server().counts).get("COMPLETED", 0) < JOBS:
                living = sum(counts.get(state, 0) for state in ("PENDING", "RUNNING"))
                assert living, f"jobs ended otherwise: {counts}, {client.jobs(JobQuery(limit=1))}"
                time.sleep(0.05)
        ours = JOBS / (time.perf_counter() - began)
    peers = {"`xargs -P2`": ["xargs", "-P2", "-n1", "true"]}
    if shutil.which("parallel"):
        peers["GNU parallel -j2"] = ["parallel", "-j2", "true"]
    lines = "".join(f"{number}\n" for number in range(JOBS)).encode()
    for name, argv in peers.items():
        peer = JOBS / seconds(lambda argv=argv: subprocess.run(argv, input=lines, check=True))
        yield Row(
            f"{JOBS} no-op jobs, end to end",
            f"{ours:.0f}/s",
            f"{name} {peer:.0f}/s",
            f"{ours / peer:.2f}",
            "≥ 600/s for tasks of an array",
        )
