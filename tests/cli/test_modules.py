"""The speed rules of the command line, by the modules that are loaded."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.front_thread import front_thread
from support.place import a_place

HEAVY = {
    "asyncio",
    "anyio",
    "litestar",
    "uvicorn",
    "httpx2",
    "importlib.metadata",
    "apsw",
    "structlog",
    "rich",
    "email",
    "http.client",
    "ssl",
    "tempfile",
}
_CODE = """
import atexit, json, sys
def tell():
    with open(sys.argv[1], "w") as file:
        json.dump(sorted(sys.modules), file)
atexit.register(tell)
from shorepower.cli.main import main
main(sys.argv[2:])
"""


def loaded(folder: Path, *words: str, server: str = "") -> set[str]:
    """Every module that one command line loads in an interpreter of its own; without a server, or with."""
    env = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "SHORE_AUTOSTART": "0",
        "SHORE_STATE_DIR": str(folder / "state"),
        "SHORE_SERVER": server,
    }
    return told_by(folder, *words, env=env)[0]


def told_by(
    folder: Path, *words: str, env: Mapping[str, str], cwd: Path | None = None
) -> tuple[set[str], int]:
    """(the modules that a command line loads, its exit code); they are noted in a folder."""
    told = folder / "modules"
    done = subprocess.run(
        [sys.executable, "-c", _CODE, told, *words],
        env=env,
        cwd=cwd,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return set(json.loads(told.read_text())), done.returncode


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    told = tmp_path_factory.mktemp("bare") / "modules"
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, json; open({str(told)!r}, 'w').write(json.dumps(sorted(sys.modules)))",
        ],
        check=True,
        timeout=60,
    )
    return set(json.loads(told.read_text()))


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_version_and_help_load_click_and_nothing_else(tmp_path: Path, words: list[str]) -> None:
    found = loaded(tmp_path, *words)

    assert "click" in found
    assert not found & {"msgspec", "http", "http.client", "socket", "ssl", "subprocess", "tempfile", "rich"}
    ours = {name for name in found if name.startswith("shorepower")}
    assert ours == {"shorepower", "shorepower.cli", "shorepower.cli.main"}


@pytest.mark.parametrize(
    "words",
    [
        ["ps"],
        ["top"],
        ["show", "x"],
        ["logs", "x"],
        ["submit", "--", "true"],
        ["run", "x.R"],
        ["stop", "x"],
        ["wait", "x"],
    ],
)
def test_no_command_loads_what_it_does_not_need(tmp_path: Path, words: list[str], bare: set[str]) -> None:
    assert not (loaded(tmp_path, *words) - bare) & HEAVY


def test_listing_jobs_loads_nothing_of_sending_them(tmp_path: Path) -> None:
    found = loaded(tmp_path, "ps")

    assert "httptools" in found
    assert not found & {
        "pathspec",
        "zstandard",
        "tomlkit",
        "tomllib",
        "difflib",
        "shorepower.client.prepare",
    }


@pytest.mark.parametrize(
    "words", [["ps"], ["ps", "--json"], ["show", "@fit"], ["logs", "@fit"], ["ls", "@fit"]]
)
def test_looking_at_jobs_loads_little(tmp_path: Path, words: list[str], bare: set[str]) -> None:
    with front_thread(tmp_path / "run" / "s.sock") as front:
        front.do(front.dispatcher.add, "ada", name="fit")

        found = loaded(tmp_path, *words, server=front.url) - bare

    assert not found & (HEAVY | {"pathspec", "zstandard", "tomlkit", "subprocess", "difflib"})


@pytest.mark.flow
def test_a_run_of_what_is_known_loads_little(tmp_path: Path, bare: set[str]) -> None:
    rare = {"pathspec", "zstandard", "tomlkit", "tomllib", "subprocess", "difflib", "asyncio"}
    with a_place(tmp_path) as place:
        place.write("x.sh", "echo said > out.txt\n")
        assert place.shore("run", "x.sh").code == 0

        run, code = told_by(tmp_path, "run", "x.sh", env=place.env, cwd=place.project)
        sent, _ = told_by(tmp_path, "submit", "x.sh", env=place.env, cwd=place.project)

    assert code == 0
    assert "shorepower.client.pull" in run
    assert not (run - bare) & (HEAVY | rare)
    # The first half of a run; what brings results home is loaded while the job runs.
    later = {"shorepower.client.pull", "shorepower.client.landing", "shorepower.cli.ending", "shutil"}
    assert not (sent - bare) & (HEAVY | rare | later)


@pytest.mark.flow
def test_a_script_that_declares_nothing_loads_nothing_that_reads_it(tmp_path: Path, bare: set[str]) -> None:
    with a_place(tmp_path) as place:
        place.write("x.py", "print(1)\n")
        assert place.shore("run", "x.py").code == 0

        sent, code = told_by(tmp_path, "submit", "x.py", env=place.env, cwd=place.project)

    assert code == 0
    rare = {"packaging", "tomllib", "yaml", "subprocess"}
    ours = {"conda", "declared", "fitting", "installed", "remembered", "uv"}
    assert not (sent - bare) & (rare | {f"shorepower.client.{name}" for name in ours})


@pytest.mark.parametrize(
    "words", [["ps"], ["show", "@fit"], ["logs", "@fit"], ["stop", "@fit"], ["run", "x.sh"]]
)
def test_where_there_is_no_array_nothing_of_arrays_is_loaded(tmp_path: Path, words: list[str]) -> None:
    with front_thread(tmp_path / "run" / "s.sock") as front:
        front.do(front.dispatcher.add, "ada", name="fit")

        found = loaded(tmp_path, *words, server=front.url)

    assert "shorepower.model.job" in found
    assert not found & {
        "csv",
        "shorepower.cli.prefix",
        "shorepower.cli.render.counts",
        "shorepower.cli.render.tasks",
        "shorepower.cli.tasks",
        "shorepower.client.array_file",
        "shorepower.client.arrays",
        "shorepower.client.task_home",
        "shorepower.client.tasks",
    }


def test_the_package_itself_loads_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); import shorepower; print(sorted(set(sys.modules) - before))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "['__future__', 'shorepower']"
