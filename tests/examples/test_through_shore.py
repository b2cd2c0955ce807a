"""The examples as a user runs them: ``shore run``, against a server that starts by itself."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHORE = Path(sys.executable).with_name("shore")
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


class User:
    """Somebody with an empty home and a copy of an example under git."""

    def __init__(self, root: Path, example: str) -> None:
        self.folder = root / example
        left_out = shutil.ignore_patterns(".venv", "results", "*.rds", "__pycache__")
        shutil.copytree(EXAMPLES / example, self.folder, ignore=left_out)
        kept = ("PATH", "LANG", "LC_ALL", "TMPDIR")
        self.env = {name: os.environ[name] for name in kept if name in os.environ}
        self.env |= {"HOME": str(root / "home"), "SHORE_STATE_DIR": str(root / "state")}
        (root / "home").mkdir()
        for words in (
            ("init", "-q"),
            ("add", "."),
            ("-c", "user.name=u", "-c", "user.email=u@u", "commit", "-qm", "x"),
        ):
            subprocess.run(["git", *words], cwd=self.folder, env=self.env, check=True)

    def shore(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SHORE, *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=110,
        )

    def attached(self, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [SHORE, *words],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def changed(self) -> str:
        """What git sees besides what was committed."""
        words = ["git", "status", "--porcelain"]
        return subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True).stdout

    def server_pid(self) -> int:
        return json.loads(self.shore("server", "status", "--json").stdout)["pid"]


@pytest.fixture
def wines(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path, "wine-r")
    yield user
    assert user.shore("server", "stop").returncode == 0


@pytest.fixture
def biopsies(tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path, "biopsy-python")
    (user.folder / ".venv").symlink_to(VENV)
    yield user
    assert user.shore("server", "stop").returncode == 0


@pytest.mark.skipif(not VENV.exists(), reason="make sets up the environment of this example")
def test_the_python_example_uses_its_environment_and_its_results_come_home(biopsies: User) -> None:
    before = biopsies.changed()

    done = biopsies.shore("run", "compare.py", "--repeats", "1")

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("569 biopsies, 30 measurements, 212 malignant\n")
    assert "the project's .venv" in done.stderr
    home = {path.name for path in (biopsies.folder / "results").iterdir()}
    assert home == {"metrics.csv", "folds.csv", "model.joblib", "roc.png"}
    assert biopsies.changed() == before, "the project ignores its results"


@needs_r
def test_the_r_example_brings_ignored_files_home(wines: User) -> None:
    done = wines.shore("run", "analyse.R")

    assert (done.returncode, done.stdout) == (0, WINES), done.stderr
    assert (wines.folder / "wine-model.rds").stat().st_size > 1_000
    home = {path.name for path in (wines.folder / "results").iterdir()}
    assert home == {"accuracy.csv", "measurements.csv", "wine.png"}
    assert wines.changed() == ""


@needs_r
def test_a_second_run_replaces_what_the_first_brought(wines: User) -> None:
    wines.shore("run", "analyse.R")
    script = wines.folder / "analyse.R"
    script.write_text(script.read_text().replace("repeats <- 20", "repeats <- 5"))

    done = wines.shore("run", "analyse.R")

    assert done.returncode == 0, done.stderr
    accuracy = (wines.folder / "results" / "accuracy.csv").read_text().splitlines()
    assert [row.rpartition(",")[2] for row in accuracy] == ["rounds", "5", "5", "5"]
    home = {path.name for path in (wines.folder / "results").iterdir()}
    assert home == {"accuracy.csv", "measurements.csv", "wine.png"}, "nothing was put beside"


@needs_r
def test_an_attached_run_outlives_its_server(wines: User) -> None:
    run = wines.attached("run", "analyse.R")
    assert run.stdout is not None
    first = run.stdout.readline()

    os.kill(wines.server_pid(), signal.SIGKILL)

    rest, said = run.communicate(timeout=100)
    assert run.returncode == 0, said
    assert first + rest == WINES
    assert (wines.folder / "wine-model.rds").stat().st_size > 1_000
