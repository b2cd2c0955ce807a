"""The tasks of an array: processes a second that do nothing, beside those who start processes only."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from peers import gnu_parallel, hyperqueue
from place import ABSENT, CPUS, Row, at_size, in_turns, place

TASKS, ROUNDS = at_size(2000), at_size(5, 1)
OURS = "`shore submit -a`, then `shore wait`"


def measure() -> Iterator[Row]:
    """Ours is recorded task by task, and includes two starts of the command line."""
    lines = "".join(f"{number}\n" for number in range(TASKS)).encode()

    def fed(*argv: str) -> Callable[[], object]:
        return lambda: subprocess.run(argv, input=lines, check=True, stderr=subprocess.DEVNULL)

    with place() as here, ExitStack() as opened:
        project = here.folder("project")

        def ours() -> None:
            said = here.shore("submit", "--ids", "-a", f"0-{TASKS - 1}", "--", "true", cwd=project)
            here.shore("wait", said.stdout.decode().strip(), cwd=project)

        peers: dict[str, Callable[[], object] | None] = {
            f"`xargs -P{CPUS} -n1`": fed("xargs", f"-P{CPUS}", "-n1", "true"),
            "GNU parallel": None,
            "HyperQueue": None,
        }
        if parallel := gnu_parallel():
            peers["GNU parallel"] = fed(parallel, "--will-cite", f"-j{CPUS}", "true")
        if hq := opened.enter_context(hyperqueue(here.root)):
            peers["HyperQueue"] = lambda: hq(TASKS)
        there = {name: act for name, act in peers.items() if act is not None}
        taken = in_turns(ROUNDS, ours, *there.values())
    rate, *rest = [TASKS / took for took in taken]
    rates = dict(zip(there, rest, strict=True))
    for name in peers:
        beside = f"{name} {rates[name]:,.0f}/s" if name in rates else f"{name} {ABSENT}"
        ratio = f"{rate / rates[name]:.2f}" if name in rates else ""
        yield Row(f"{OURS}: {TASKS:,} × `true`", f"{rate:,.0f}/s", beside, ratio, "≥ 600/s")
