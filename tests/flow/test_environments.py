"""Runs in the environments that scripts and projects declare: the real uv, and conda's layout."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

from support.environments import a_conda_prefix, a_venv, a_wheel, install
from support.place import Place, a_place

pytestmark = pytest.mark.flow

SAYS = "import sys, tinydep\nprint(sys.executable, tinydep.VERSION)\n"


def block(*packages: str, python: str = ">=3.9") -> str:
    return f"# /// script\n# requires-python = {python!r}\n# dependencies = {list(packages)!r}\n# ///\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


@pytest.fixture
def uv(place: Place, tmp_path: Path) -> "Uv":
    for version in ("1.0", "2.0"):
        a_wheel(tmp_path / "wheels", "tinydep", version)
    return Uv(place, tmp_path / "wheels")


class Uv:
    """The real uv, which knows the wheels of one folder and no index."""

    def __init__(self, place: Place, wheels: Path) -> None:
        self.place = place
        self.only = {"UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}
        place.env["UV"] = find_uv_bin()

    def __call__(self, *words: str) -> None:
        env = {**self.place.env, **self.only, "UV_PYTHON_DOWNLOADS": "never"}
        command = [self.place.env["UV"], *words]
        done = subprocess.run(
            command,
            env=env,
            cwd=self.place.project,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def environments(place: Place) -> list[Path]:
    return sorted((place.home / ".cache" / "uv").glob("environments-v*/*"))


def test_a_script_runs_in_the_environment_that_uv_built_for_it(place: Place, uv: Uv) -> None:
    place.write("x.py", block("tinydep<2") + SAYS)
    uv("sync", "--script", "x.py")

    done = place.shore("run", "x.py")

    (built,) = environments(place)
    assert done.code == 0, done
    assert done.stdout == f"{built}/bin/python 1.0\n"
    assert "(uv's environment for x.py)" in done.stderr


def test_a_script_without_an_environment_is_refused_before_it_is_queued(place: Place, uv: Uv) -> None:
    place.write("x.py", block("tinydep<2") + SAYS)

    done = place.shore("run", "x.py")

    assert done.code == 2
    assert "x.py declares Python >=3.9, tinydep<2, which no Python here has" in done.stderr
    assert "uv has built no environment for it" in done.stderr
    assert "`uv sync --script x.py` builds an environment for it" in done.stderr
    assert place.shore("ps", "-a", "--ids").stdout == ""
    assert environments(place) == []


def test_an_environment_that_is_behind_its_script_is_not_used(place: Place, uv: Uv) -> None:
    place.write("x.py", block("tinydep<2") + SAYS)
    uv("sync", "--script", "x.py")
    place.write("x.py", block("tinydep>=2") + SAYS)

    done = place.shore("run", "x.py")

    assert done.code == 2
    assert "its tinydep is 1.0, not >=2" in done.stderr
    uv("sync", "--script", "x.py")
    assert place.shore("run", "x.py").stdout.endswith(" 2.0\n")


def test_a_script_that_wants_another_python_is_refused(place: Place, uv: Uv) -> None:
    place.write("x.py", block(python=">=3.99") + "print(1)\n")

    done = place.shore("run", "x.py")

    assert done.code == 2
    assert "x.py declares Python >=3.99, which no Python here has" in done.stderr
    assert "PATH (Python 3." in done.stderr


def test_the_projects_environment_runs_a_script_where_it_has_everything(place: Place) -> None:
    python = a_venv(place.project / ".venv")
    install(place.project / ".venv", "tinydep")
    place.write("x.py", block("tinydep") + SAYS)

    done = place.shore("run", "x.py")

    assert done.stdout == f"{python} 1.0\n", done
    assert "(the project's .venv; it has what x.py declares)" in done.stderr


def test_a_locked_project_runs_once_it_is_synced(place: Place, uv: Uv) -> None:
    project = (
        "[project]\nname = 'fit'\nversion = '0'\nrequires-python = '>=3.9'\ndependencies = ['tinydep']\n"
    )
    place.write("pyproject.toml", project)
    place.write("x.py", SAYS)
    uv("lock")

    done = place.shore("run", "x.py")
    assert done.code == 2
    assert "the project has no .venv" in done.stderr
    assert "`uv sync` builds its environment" in done.stderr

    uv("sync")
    done = place.shore("run", "x.py")
    assert done.stdout == f"{place.project}/.venv/bin/python 2.0\n", done
    assert "(the project's .venv)" in done.stderr

    place.write("pyproject.toml", project.replace(">=3.9", ">=3.99"))
    done = place.shore("run", "x.py")
    assert done.code == 2
    assert "pyproject.toml requires Python >=3.99, but the project's .venv (Python 3." in done.stderr


def test_a_conda_environment_is_used_once_it_is_there(place: Place) -> None:
    place.write("environment.yml", "name: fit\nchannels: [conda-forge]\ndependencies:\n  - python\n")
    place.write("x.py", "import sys; print(sys.executable)\n")

    done = place.shore("run", "x.py")
    assert done.code == 2
    assert "environment.yml names the conda environment 'fit', which is not built here" in done.stderr
    assert "`conda env create -f environment.yml` builds it" in done.stderr

    python = a_conda_prefix(place.home / "conda" / "envs" / "fit")
    place.env["CONDA_EXE"] = str(place.home / "conda" / "bin" / "conda")
    done = place.shore("run", "x.py")
    assert done.stdout == f"{python}\n", done
    assert "(environment.yml, conda environment fit)" in done.stderr


def test_as_it_is_runs_as_it_is(place: Place) -> None:
    place.write("x.py", block("tinydep") + "print('ran')\n")

    assert place.shore("run", "x.py").code == 2
    assert place.shore("run", "--", "python3", "x.py").stdout == "ran\n"
