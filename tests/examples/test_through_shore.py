"""The examples as a user runs them: ``shore run``, against a server that starts by itself."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import Place, a_place

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
VENV = EXAMPLES / "biopsy-python" / ".venv"
WINES = """\
178 wines of 3 cultivars, 13 measurements
most telling: flavanoids (73 % of its variance)
centroids  95.59 % right (sd 0.38)
linear     98.82 % right (sd 0.63)
quadratic  99.16 % right (sd 0.53)
best: quadratic; fitted to all 178 wines
"""

pytestmark = pytest.mark.flow
needs_r = pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")


def git(place: Place, *words: str) -> str:
    """What git says in the project."""
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    command = ["git", *who, *words]
    done = subprocess.run(
        command, cwd=place.project, env=place.env, check=True, capture_output=True, text=True
    )
    return done.stdout


def settle(place: Place, example: str) -> None:
    """A copy of an example is the project, committed to git."""
    left_out = shutil.ignore_patterns(".venv", "results", "*.rds", "__pycache__")
    shutil.copytree(EXAMPLES / example, place.project, ignore=left_out, dirs_exist_ok=True)
    git(place, "init", "--quiet")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message", "as it came")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


@pytest.mark.skipif(not VENV.exists(), reason="make sets up the environment of this example")
def test_the_python_example_uses_its_environment_and_its_results_come_home(place: Place) -> None:
    settle(place, "biopsy-python")
    (place.project / ".venv").symlink_to(VENV)
    before = git(place, "status", "--porcelain")

    done = place.shore("run", "compare.py", "--repeats", "1")

    assert done.code == 0, done
    assert done.stdout.startswith("569 biopsies, 30 measurements, 212 malignant\n")
    assert "the project's .venv" in done.stderr
    assert names(place.project / "results") == {"metrics.csv", "folds.csv", "model.joblib", "roc.png"}
    assert git(place, "status", "--porcelain") == before, "the project ignores its results"


@needs_r
def test_the_r_example_brings_ignored_files_home(place: Place) -> None:
    settle(place, "wine-r")

    done = place.shore("run", "analyse.R")

    assert (done.code, done.stdout) == (0, WINES), done
    assert (place.project / "wine-model.rds").stat().st_size > 1_000
    assert names(place.project / "results") == {"accuracy.csv", "measurements.csv", "wine.png"}
    assert git(place, "status", "--porcelain") == ""


@needs_r
def test_a_second_run_replaces_what_the_first_brought(place: Place) -> None:
    settle(place, "wine-r")
    place.shore("run", "analyse.R")
    script = place.project / "analyse.R"
    script.write_text(script.read_text().replace("repeats <- 20", "repeats <- 5"))

    done = place.shore("run", "analyse.R")

    assert done.code == 0, done
    accuracy = (place.project / "results" / "accuracy.csv").read_text().splitlines()
    assert [row.rpartition(",")[2] for row in accuracy] == ["rounds", "5", "5", "5"]
    assert names(place.project / "results") == {"accuracy.csv", "measurements.csv", "wine.png"}


@needs_r
def test_an_attached_run_outlives_its_server(place: Place) -> None:
    settle(place, "wine-r")
    run = place.start("run", "analyse.R")
    assert run.stdout is not None
    first = run.stdout.readline()

    place.kill()

    rest, said = run.communicate(timeout=100)
    assert run.returncode == 0, said
    assert (first + rest).decode() == WINES
    assert (place.project / "wine-model.rds").stat().st_size > 1_000
