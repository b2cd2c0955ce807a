"""What is wrong is told in words before anything runs, and nothing is half-done."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import SHORE, Place, a_place

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_place(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def place(server: Place, tmp_path: Path) -> Iterator[Place]:
    """The server's home, with a project of this test's own; no job comes of what is wrong."""
    server.project = tmp_path / "project"
    server.project.mkdir()
    server.write("pyproject.toml", "")
    server.write("ok.sh", "echo ok\n")
    before = server.shore("ps", "-a", "--ids").stdout
    yield server
    assert server.shore("ps", "-a", "--ids").stdout == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch.R"], ["no script 'nosuch.R'"]),
        (["oks.sh"], ["no script 'oks.sh'", "ok.sh"]),
        (["folder"], ["'folder' is a folder"]),
        (["unknown.xyz"], [".xyz", ".py", ".R", ".sh", ".jl", ".ipynb", ".qmd", ".Rmd"]),
        (["noext"], [".py", ".R"]),
        (["--on", "loca", "ok.sh"], ["no cluster 'loca'", "did you mean 'local'"]),
        (["-p", "fast", "ok.sh"], ["no queues"]),
        (["--mem", "nonsense", "ok.sh"], ["'nonsense' is not an amount of memory", "8G"]),
        (["-t", "soon", "ok.sh"], ["'soon'"]),
        (["-c", "0", "ok.sh"], ["cpus"]),
        (["-c", "-3", "ok.sh"], ["-3"]),
        (["-G", "1", "ok.sh"], ["GPU"]),
        (["-e", "=x", "ok.sh"], ["-e"]),
        (["--env-file", "none.env", "ok.sh"], ["none.env"]),
        (["--secret", "NOT_SET_ANYWHERE", "ok.sh"], ["NOT_SET_ANYWHERE"]),
        (["--secret", "X=@none.txt", "ok.sh"], ["none.txt"]),
        (["--stdin", "none.txt", "ok.sh"], ["none.txt"]),
        (["--workdir", "../..", "ok.sh"], ["workdir"]),
        (["--project", "none", "ok.sh"], ["none"]),
        (["--max-send", "nonsense", "ok.sh"], ["nonsense"]),
        (["--", "nosuchprogram", "x"], ["nosuchprogram"]),
        (["--name", "a\nb", "ok.sh"], ["control characters"]),
        (["--tag", "x", "ok.sh"], ["KEY=VALUE"]),
    ],
)
def test_bad_input_is_told(place: Place, words: list[str], told: list[str]) -> None:
    (place.project / "folder").mkdir()
    place.write("unknown.xyz", "x")
    place.write("noext", "x")

    done = place.shore("submit" if len(words) % 2 else "run", *words)

    assert (done.code, done.stdout) == (2, ""), done
    for text in told:
        assert text in done.stderr, done
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr


def test_every_fault_is_told_at_once(place: Place) -> None:
    done = place.shore("run", "-c", "9999", "-m", "900T", "-G", "4", "--on", "local", "-p", "x", "ok.sh")

    assert done.code == 2
    for text in ("9999 cpus", "900 TiB", "4 GPUs", "no queues"):
        assert text in done.stderr, done


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-c", "9999", "-p", "x", "nosuch.R"], ["no script 'nosuch.R'", "9999 cpus", "no queues"]),
        (
            ["--cpuz", "4", "-q", "x", "--memm=3G", "-t", "soon", "--on", "loca", "ok.sh"],
            ["'--cpus'", "-q: qos", "'--mem'", "'soon'", "did you mean 'local'"],
        ),
        (["--verbos", "ok.sh"], ["no option '--verbos'"]),
        (["--on", "loca", "-e", "NOPE", "nosuch.R"], ["nosuch.R", "did you mean 'local'", "NOPE"]),
        (["-t", "soon", "-G", "2", "-c", "x", "nosuch.R"], ["nosuch.R", "'soon'", "2 GPUs", "-c: 'x'"]),
        (["--workdir", "none", "-m", "900T", "ok.sh"], ["--workdir none", "900 TiB"]),
        (["--project", "none", "--on", "loca", "ok.sh"], ["--project none", "'loca'"]),
        (["-m", "900T", "--", "nosuchprogram"], ["900 TiB", "nosuchprogram"]),
    ],
)
def test_what_is_wrong_here_hides_nothing_that_is_wrong_there(
    place: Place, words: list[str], told: list[str]
) -> None:
    done = place.shore("run", *words)

    assert (done.code, done.stdout) == (2, ""), done
    for text in told:
        assert text in done.stderr, done
    assert len(done.stderr.splitlines()) == len(set(done.stderr.splitlines())) == len(told), done


def test_an_interpreter_that_is_missing_is_told_before_it_queues(place: Place) -> None:
    if shutil.which("julia", path=place.env["PATH"]):
        pytest.skip("Julia is installed here")
    place.write("a.jl", "println(1)\n")

    done = place.shore("run", "a.jl")

    assert (done.code, done.stdout) == (2, ""), done
    assert "julia" in done.stderr.lower()


@pytest.mark.parametrize(
    ("answer", "profile", "code"), [(42, False, 2), (0, False, 0), (42, True, 0), (1, False, 0)]
)
def test_r_without_the_package_that_renders_is_told_before_it_queues(
    place: Place, tmp_path: Path, answer: int, profile: bool, code: int
) -> None:
    rscript = tmp_path / "bin" / "Rscript"
    rscript.parent.mkdir()
    rscript.write_text(f'#!/bin/sh\ncase "$*" in *requireNamespace*) exit {answer};; esac\n')
    rscript.chmod(0o755)
    place.write("a.Rmd", "hi\n")
    if profile:
        place.write(".Rprofile", "")

    done = place.shore("run", "--dry-run", "a.Rmd", env={"PATH": f"{rscript.parent}:{place.env['PATH']}"})

    assert done.code == code, done
    assert ("a.Rmd needs the R package rmarkdown" in done.stderr) == (code == 2), done


def test_a_current_folder_that_is_gone_is_told_in_words(place: Place) -> None:
    done = subprocess.run(
        ["sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh", *SHORE, "run", "--", "true"],
        env=place.env,
        cwd=place.project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "the folder you are in is not there any more" in done.stderr


def test_over_the_size_limit_the_largest_are_named(place: Place) -> None:
    place.write("data/large.bin", b"x" * 3_000_000)
    place.write("data/small.bin", b"x" * 100)

    done = place.shore("run", "--max-send", "2M", "ok.sh")

    assert (done.code, done.stdout) == (2, ""), done
    assert "data" in done.stderr
    assert "--max-send" in done.stderr


def test_a_file_nobody_may_read_is_named_and_left_out(place: Place) -> None:
    if os.getuid() == 0:
        pytest.skip("root may read everything; test_people has ordinary users")
    place.write("locked.txt", "x").chmod(0)

    done = place.shore("run", "--dry-run", "ok.sh")

    assert "locked.txt" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show", "zzzzzzzzzzzz"], 123),
        (["show", "zzzz"], 123),
        (["logs", "@nosuchname"], 123),
        (["wait", "@-99"], 123),
        (["stop", "zzzz"], 123),
        (["pull", "zzzz"], 123),
        (["ls", "zzzz"], 123),
        (["show", "NOT AN ID"], 2),
        (["show", ""], 2),
        (["stop", ""], 2),
        (["pull", ""], 2),
        (["logs", ".."], 2),
        (["rerun", ""], 2),
        (["wait", ""], 2),
        (["run", "--after-ok", "", "--", "true"], 2),
        (["pull", "--undo", "zzzz"], 123),
        (["rerun", "zzzz"], 123),
        (["keep", "--forever", "zzzz"], 123),
        (["token", "revoke", "nosuch"], 123),
        (["shwo", "x"], 2),
        (["show"], 2),
        (["ps", "--state", "ASLEEP"], 2),
    ],
)
def test_what_is_not_there_is_123_and_wrong_usage_2(place: Place, words: list[str], code: int) -> None:
    done = place.shore(*words)

    assert (done.code, done.stdout) == (code, ""), done
    assert done.stderr.startswith("shore: ")
    assert "Traceback" not in done.stderr


def test_a_broken_configuration_is_told_with_file_and_known_keys(place: Place) -> None:
    place.write("shore.toml", "[run]\ncpuz = 3\n")

    done = place.shore("run", "ok.sh")

    assert (done.code, done.stdout) == (2, ""), done
    assert "shore.toml" in done.stderr
    assert "cpuz" in done.stderr
    assert "cpus" in done.stderr


def test_a_projects_file_cannot_name_servers(place: Place) -> None:
    place.write("shore.toml", '[servers.evil]\nurl = "https://example.org"\n')

    done = place.shore("run", "ok.sh")

    assert (done.code, done.stdout) == (2, ""), done
    assert "servers" in done.stderr
