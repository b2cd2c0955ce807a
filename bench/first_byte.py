"""From submit to the first byte of output, through the SDK, beside a bare process."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Iterator

from place import Row, at_size, ms, place, quantile

JOBS = at_size(50)


def measure() -> Iterator[Row]:
    """Jobs one after the other in a 200-byte project, against Popen of the same command."""
    ours, bare = [], []
    with place() as here:
        project = here.folder("project")
        (project / "one.sh").write_text("echo hello\n")
        os.environ.update(here.env)
        os.chdir(project)
        from shorepower import Client

        with Client() as client:
            for number in range(JOBS + 5):
                began = time.perf_counter()
                process = subprocess.Popen(["sh", "one.sh"], stdout=subprocess.PIPE)
                assert process.stdout is not None
                process.stdout.read(1)
                popen_s = time.perf_counter() - began
                process.stdout.close()
                process.wait()
                began = time.perf_counter()
                job = client.submit("one.sh")
                next(iter(client.output(job.id)))
                first_s = time.perf_counter() - began
                job.wait()
                if number >= 5:
                    bare.append(popen_s)
                    ours.append(first_s)
        os.chdir("/")
    middle, popen = statistics.median(ours), statistics.median(bare)
    yield Row(
        "submit → first byte of output, median (p90)",
        f"{ms(middle)} ({ms(quantile(ours, 0.9))})",
        f"`Popen` {ms(popen)}",
        f"{middle / popen:.0f}",
        "≤ 20 ms",
    )
