"""Durable submits acknowledged, by 64 callers at once; each is on disk before the answer."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from place import Row, at_size, place

CALLERS, EACH = at_size(64), at_size(30)


def measure() -> Iterator[Row]:
    """Beside a file written and fsynced for each, one after the other: the disk's own pace."""
    with place() as here:
        os.environ.update(here.env)
        from shorepower import Client
        from shorepower.model.job import JobSpec
        from shorepower.model.resources import Resources

        with Client() as client:
            # a job that takes all cpus, so that nothing else starts while submits are counted
            cpus = client.clusters()[0].cpu_count
            blocker = client.submit_spec(
                JobSpec(name="blocker", argv=("sleep", "600"), resources=Resources(cpu_count=cpus))
            )

        def submit(number: int) -> None:
            with Client() as mine:
                for count in range(EACH):
                    mine.submit_spec(JobSpec(name=f"{number}-{count}", argv=("true",)))

        began = time.perf_counter()
        threads = [threading.Thread(target=submit, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ours = CALLERS * EACH / (time.perf_counter() - began)
        fsync = _fsyncs(here.root)
        with Client() as client:
            from shorepower.model.lifecycle import Operation

            client.control(blocker.id, Operation.KILL)
    yield Row(
        f"durable submits, {CALLERS} callers (Python threads of one process)",
        f"{ours:.0f}/s",
        f"write + fsync of one file each {fsync:.0f}/s",
        f"{ours / fsync:.2f}",
        "≥ 1,000/s",
    )


def _fsyncs(folder: Path, count: int = at_size(500)) -> float:
    began = time.perf_counter()
    for number in range(count):
        fd = os.open(folder / f"fsync-{number}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, b"x" * 1500)
        os.fsync(fd)
        os.close(fd)
    return count / (time.perf_counter() - began)
