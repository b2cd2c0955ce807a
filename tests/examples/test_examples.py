"""The examples run by themselves, without shorepower, in a copy."""

import csv
import os
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PYTHON = EXAMPLES / "biopsy-python" / ".venv" / "bin" / "python"


def run(argv: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example with a launcher's two files named."""
    env = {
        **os.environ,
        "SHOREPOWER_PROGRESS": str(folder / "progress"),
        "SHOREPOWER_METRICS": str(folder / "metrics"),
    }
    env.pop("DISPLAY", None)
    return subprocess.run(argv, cwd=folder, env=env, text=True, capture_output=True, timeout=100)


def copy(name: str, into: Path) -> Path:
    """The example as it is in the repository, without results and environments."""
    left_out = shutil.ignore_patterns(".venv", "results", "*.rds", "__pycache__")
    return Path(shutil.copytree(EXAMPLES / name, into / name, ignore=left_out))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def is_png(path: Path) -> bool:
    return path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") and path.stat().st_size > 10_000


def fractions(progress: Path) -> list[float]:
    return [float(line.split(" ", 1)[0]) for line in progress.read_text().splitlines()]


@pytest.mark.skipif(not PYTHON.exists(), reason="make demo sets up the environment of this example")
def test_the_python_example_compares_models(tmp_path: Path) -> None:
    folder = copy("biopsy-python", tmp_path)

    done = run([PYTHON, "compare.py", "--repeats", "1"], folder)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("569 biopsies, 30 measurements, 212 malignant\n")
    table = rows(folder / "results" / "metrics.csv")
    by_model = {row["model"]: float(row["auc"]) for row in table}
    assert len(by_model) == 6
    assert by_model["majority class"] == 0.5
    assert by_model["logistic regression"] > 0.98
    assert [row["auc"] for row in table] == sorted((row["auc"] for row in table), reverse=True)
    assert len(rows(folder / "results" / "folds.csv")) == 6 * 5
    assert (folder / "results" / "model.joblib").stat().st_size > 1_000
    assert is_png(folder / "results" / "roc.png")
    seen = fractions(folder / "progress")
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len((folder / "metrics").read_text().splitlines()) == 6


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_the_r_example_classifies_wines(tmp_path: Path) -> None:
    folder = copy("wine-r", tmp_path)

    done = run(["Rscript", "--vanilla", "analyse.R"], folder)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("178 wines of 3 cultivars, 13 measurements\n")
    accuracy = {row["classifier"]: float(row["mean"]) for row in rows(folder / "results" / "accuracy.csv")}
    assert accuracy.keys() == {"centroids", "linear", "quadratic"}
    assert accuracy["linear"] > 0.97
    most_telling = rows(folder / "results" / "measurements.csv")[0]
    assert most_telling["measurement"] == "flavanoids"
    assert is_png(folder / "results" / "wine.png")
    read_back = run(["Rscript", "--vanilla", "-e", "cat(class(readRDS('wine-model.rds')))"], folder)
    assert read_back.stdout == "gaussian_classifier"
    seen = fractions(folder / "progress")
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len((folder / "metrics").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["biopsy-python", "wine-r"])
def test_each_example_says_whose_data_it_uses(name: str) -> None:
    text = (EXAMPLES / name / "README.md").read_text()

    assert "https://doi.org/10.24432/" in text
    assert "https://creativecommons.org/licenses/by/4.0/" in text
    assert "**Changes**" in text
