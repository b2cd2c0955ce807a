"""Run benchmarks: ``python bench/run.py [NAME …] [--tiny] [--write docs/benchmarks.md]``."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
NAMES = [
    "command_line",
    "first_byte",
    "submits",
    "noop_jobs",
    "array_tasks",
    "million",
    "calls",
    "map_items",
    "project",
    "output",
]
HEAD = ["what", "shorepower", "beside", "ratio", "to reach", "load"]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--tiny", action="store_true", help="see that they run; the figures say nothing")
    parser.add_argument("--write", type=lambda text: Path(text).absolute())  # peers change the folder
    asked = parser.parse_args()
    for name in asked.names:
        if name not in NAMES:
            parser.error(f"no benchmark {name!r}; choose of: {', '.join(NAMES)}")
    if asked.tiny and asked.write:
        parser.error("--tiny is a trial; its figures are not for --write")
    sys.path.insert(0, str(HERE))
    signal.signal(signal.SIGTERM, _end)  # so that servers are stopped and folders removed
    if asked.tiny:
        os.environ["BENCH_TINY"] = "1"
    machine, lines = _machine(), [_line(HEAD), _line(["---"] * len(HEAD))]
    print(machine, *lines, sep="\n", flush=True)
    for name in asked.names:
        load = f"{os.getloadavg()[0]:.2f}"
        for row in importlib.import_module(name).measure():
            lines.append(_line([row.what, row.ours, row.peer, row.ratio, row.reach, load]))
            print(lines[-1], flush=True)
    if asked.write:
        asked.write.write_text(_PAGE.format(machine=machine, table="\n".join(lines)))


def _end(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _machine() -> str:
    """What it ran on, and how busy that was before anything of ours began."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    one, five, quarter = os.getloadavg()
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f"{len(os.sched_getaffinity(0))} cpus, {memory_gb:.0f} GB, {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}; {when}, "
        f"load average at start {one:.2f} {five:.2f} {quarter:.2f}"
    )


_PAGE = """---
orphan: true
---
# Benchmarks

Taken by `make bench` on one machine: {machine}.

Other machines give other seconds; the ratios, ours to the peer's of the same run, hold better. Of seconds
less is better, of a rate (`/s`) more. `load` is the load average of the last minute when the row's
benchmark began, with what the benchmarks before it left in it. Where it is far above the number of cpus,
somebody else used the machine, and neither figure is to be trusted. What each row does stands in
`bench/`, one file a name.

{table}
"""

if __name__ == "__main__":
    main()
