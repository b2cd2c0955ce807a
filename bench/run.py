"""Run benchmarks: ``python bench/run.py [NAME …] [--write docs/benchmarks.md]``."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ["command_line", "first_byte", "submits", "noop_jobs", "project", "output"]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--write", type=Path)
    asked = parser.parse_args()
    sys.path.insert(0, str(HERE))
    lines = ["| what | shorepower | beside | ratio | to reach |", "| --- | --- | --- | --- | --- |"]
    for name in asked.names:
        if name not in NAMES:
            parser.error(f"no benchmark {name!r}; choose of: {', '.join(NAMES)}")
        for row in importlib.import_module(name).measure():
            lines.append(f"| {row.what} | {row.ours} | {row.peer} | {row.ratio} | {row.reach} |")
            print(lines[-1], flush=True)
    if asked.write:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}"
        asked.write.write_text(_PAGE.format(machine=machine, table="\n".join(lines)))


_PAGE = """# Benchmarks

Taken by `make bench` on one machine ({machine}); other machines give other seconds, the ratios hold
better. What each row does stands in `bench/`, one file a name.

{table}
"""

if __name__ == "__main__":
    main()
