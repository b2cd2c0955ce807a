"""Each benchmark still runs. How fast is not asked here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
NOT_MEASURED = {"run", "place", "peers"}
NAMES = sorted(file.stem for file in BENCH.glob("*.py") if file.stem not in NOT_MEASURED)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(BENCH / "run.py"), *words]
    return subprocess.run(argv, text=True, capture_output=True, timeout=110)


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_a_small_size(name: str) -> None:
    ran = run(name, "--tiny")

    assert ran.returncode == 0, ran.stderr
    machine, head, _, *rows = ran.stdout.splitlines()
    assert f"{len(os.sched_getaffinity(0))} cpus" in machine
    assert "load average at start" in machine
    columns = head.count("|")
    assert rows
    for row in rows:
        assert row.count("|") == columns
        what, ours, beside, *_ = [cell.strip() for cell in row.strip("|").split("|")]
        assert what
        assert re.search(r"\d", ours)
        assert beside


def test_figures_of_a_trial_are_never_written(tmp_path: Path) -> None:
    ran = run("submits", "--tiny", "--write", str(tmp_path / "page.md"))

    assert ran.returncode == 2
    assert "--tiny" in ran.stderr
    assert not (tmp_path / "page.md").exists()


def test_a_name_that_is_not_there_is_answered_with_those_that_are() -> None:
    ran = run("speed")

    assert ran.returncode == 2
    assert all(name in ran.stderr for name in NAMES)
