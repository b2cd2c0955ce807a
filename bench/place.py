"""A server of one's own for the length of a benchmark, and how figures are taken."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TINY = "BENCH_TINY"
"""Set in the environment, everything is done a few times only: to see that it works, not how fast."""
CPUS = len(os.sched_getaffinity(0))
"""As many as peers are told to use; a private server takes all of them by itself."""
ABSENT = "not installed"
SHORE = [str(Path(sys.executable).with_name("shore"))]


@dataclass
class Row:
    """One line of the table."""

    what: str
    ours: str
    peer: str
    ratio: str
    reach: str = ""


@dataclass
class Place:
    """Where a benchmark runs: folders of its own and the environment that points there."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """A new folder with a marker, so that it is a project of its own."""
        made = self.root / name
        made.mkdir(parents=True, exist_ok=True)
        (made / "shore.toml").touch()
        return made

    @contextmanager
    def inside(self, folder: Path) -> Iterator[None]:
        """This process works there and speaks to this place's server; afterwards as before."""
        before, was = dict(os.environ), Path.cwd()
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(was)
            os.environ.clear()
            os.environ.update(before)

    def shore(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run the command line; raises when it fails."""
        return subprocess.run(
            [*SHORE, *words], env=self.env, cwd=cwd or self.root, check=True, capture_output=True
        )


@contextmanager
def place() -> Iterator[Place]:
    """A warm private server below a temporary folder; stopped and removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="shore-bench-"))
    runtime = root / "run"
    runtime.mkdir(mode=0o700)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SHORE", "PYTHON"))}
    env |= {
        "HOME": str(root / "home"),
        "SHORE_STATE_DIR": str(root / "state"),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(root / "config"),
        "XDG_CACHE_HOME": str(root / "cache"),
    }
    (root / "home").mkdir()
    here = Place(root, env)
    try:
        here.shore("server", "start")
        yield here
    finally:
        subprocess.run([*SHORE, "server", "stop"], env=env, check=False, capture_output=True)
        shutil.rmtree(root, ignore_errors=True)


def seconds(act: Callable[[], object]) -> float:
    """How long one call took."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def at_size(full: int, tiny: int = 3) -> int:
    """How many: ``full``, or ``tiny`` in a trial."""
    return tiny if TINY in os.environ else full


def nothing(item: object = None) -> object:
    """The function that does nothing, found by its name where that is possible."""
    return item


def nothing_by_value() -> Callable[..., Any]:
    """The same as a function that has to travel itself, as those of scripts and notebooks do."""

    def nothing(item: object = None) -> object:
        return item

    return nothing


def in_turns(
    rounds: int, *acts: Callable[[], object], settle: Callable[[], object] = lambda: None
) -> list[float]:
    """Median seconds of each act, run one after the other, round by round, after one round to warm up.

    ``settle`` runs after each act, off the clock, so that what one leaves running does not slow the next.
    """
    taken: list[list[float]] = [[] for _ in acts]
    for number in range(rounds + 1):
        for place_, act in enumerate(acts):
            took = seconds(act)
            settle()
            if number:
                taken[place_].append(took)
    return [statistics.median(times) for times in taken]


def quantile(values: list[float], share: float) -> float:
    """The value that ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ms(value: float) -> str:
    """Milliseconds for the table."""
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
