"""What is typed wrong is told in words, all of it at once, before any server is asked."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest


def shore(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One command line, where there is no server and none may be started."""
    env = {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "SHORE_AUTOSTART": "0",
        "SHORE_STATE_DIR": str(folder / "state"),
        **more,
    }
    return subprocess.run(
        [sys.executable, "-m", "shorepower", *words],
        env=env,
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rnu", "x.R"], "no verb 'rnu'; did you mean 'run'?"),
        (["run", "--memm", "8G", "x.R"], "no option '--memm'; did you mean '--mem'?"),
        (["run", "-e", "file.err", "x.R"], "here -e K=V sets a variable of the job"),
        (["run", "-e", "out/x.err", "x.R"], "sbatch's -e FILE is not needed"),
        (["run", "-o", "file.out", "x.R"], "here -o json prints JSON; sbatch's -o FILE is not needed"),
        (["run", "-m", "block", "x.R"], "here -m 8G asks for memory; sbatch's -m block"),
        (["run", "-a", "9-1", "x.R"], "-a: in '9-1' the first index is above the last"),
        (["run", "--max-parallel", "0", "x.R"], "--max-parallel: '0' is no number of tasks"),
        (["run", "--array-file", "none.txt"], "--array-file none.txt cannot be read"),
        (["run", "-n", "4", "x.R"], "-c 4 asks for cpus"),
        (["run", "--constraint", "gpu", "x.R"], "--constraint is not in this version"),
        (["run", "-d", "afterok:abc", "x.R"], "-d: write --after-ok ID"),
        (["run", "--dependency", "singleton", "x.R"], "'singleton' is no dependency known here"),
        (["run", "--not-before", "soon", "x.R"], "'soon' is no moment"),
        (["run", "--grid", "lr", "x.R"], "write --grid NAME=V1,V2"),
        (["run", "--slurm-arg=--x", "x.R"], "Slurm is not in this version"),
        (["run", "--wrap", "ls"], "shore run -- make all"),
        (["run"], "nothing to run"),
        (["run", "--"], "nothing to run"),
        (["run", "--tag", "x", "x.R"], "write --tag KEY=VALUE"),
        (["run", "--stdin"], "requires an argument"),
        (["ps", "--state", "runing"], "no state 'runing'; did you mean 'RUNNING'?".upper()),
        (["ps", "--since", "soon"], "write 2h or 3d, or a date"),
        (["show"], "Missing argument"),
        (["wait", "--timeout", "soon", "x"], "is not a time"),
        (["keep", "--until", "1990-01-01", "x"], "that has passed"),
        (["login", "http://example.org"], "plain http is for this machine only"),
        (["logout"], "there is no default login"),
        (["--server", "x"], "no option '--server'"),
        (["ps", "--server", "x"], "no server 'x'"),
    ],
)
def test_what_is_typed_wrong(tmp_path: Path, words: list[str], told: str) -> None:
    done = shore(tmp_path, *words)

    assert told.lower() in done.stderr.lower()
    assert done.returncode == 2
    assert done.stdout == ""
    assert all(line.startswith("shore: ") for line in done.stderr.splitlines())
    assert not (tmp_path / "state").exists()


def test_every_fault_at_once(tmp_path: Path) -> None:
    done = shore(
        tmp_path,
        "run",
        "-c",
        "many",
        "-m",
        "lots",
        "-t",
        "soon",
        "-G",
        "x",
        "-e",
        "a.err",
        "-e",
        "1X=2",
        "--secret",
        "NOT_SET",
        "--tag",
        "y",
        "x.R",
    )

    assert len(done.stderr.splitlines()) == 9
    for option in ("-c: 'many'", "-m: 'lots'", "-t: 'soon'", "-G: 'x'", "-e a.err", "--tag 'y'"):
        assert option in done.stderr
    for told in ("-e '1X'", "--secret NOT_SET", "no script 'x.R'"):
        assert told in done.stderr


@pytest.mark.parametrize(
    "words", [["run", "--json", "-m", "lots", "x.R"], ["submit", "-o", "json", "-m", "lots", "x.R"]]
)
def test_faults_as_json(tmp_path: Path, words: list[str]) -> None:
    done = shore(tmp_path, *words)

    problem = json.loads(done.stderr)
    assert (problem["status"], problem["faults"][0]["field"]) == (422, "-m")
    assert problem["type"] == "urn:shorepower:problem:invalid-request"
    assert (done.stdout, done.returncode) == ("", 2)


def test_wrong_usage_as_json(tmp_path: Path) -> None:
    assert "no verb" in json.loads(shore(tmp_path, "psx", "--json").stderr)["detail"]


def test_without_a_server_the_code_is_121(tmp_path: Path) -> None:
    done = shore(tmp_path, "ps")

    assert done.returncode == 121
    assert done.stderr.startswith("shore: your server cannot be reached: no server is running there")
    assert (
        json.loads(shore(tmp_path, "ps", "--json").stderr)["type"] == "urn:shorepower:problem:unreachable"
    )


def test_a_variable_that_nothing_reads_is_told_once(tmp_path: Path) -> None:
    told = shore(tmp_path, "ps", SHORE_TIMES="1h", SHOREPOWER_NAME="a job's").stderr

    assert told.count("SHORE_TIMES") == 1
    assert "nothing reads SHORE_TIMES; did you mean 'SHORE_TIME'?" in told
    assert "SHOREPOWER_NAME" not in told


def test_everything_that_ps_is_asked_wrong_is_told(tmp_path: Path) -> None:
    done = shore(tmp_path, "ps", "--state", "runing", "--state", "x", "--tag", "y", "--since", "soon")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 4
    for told in (
        "did you mean 'RUNNING'?",
        "no state 'X'; choose one of: CANCELED",
        "--tag 'y'",
        "--since",
    ):
        assert told in done.stderr


def test_options_end_at_the_script(tmp_path: Path) -> None:
    done = shore(tmp_path, "run", "-m", "1G", "x.R", "-m", "lots", "--nonsense")

    assert "lots" not in done.stderr
    assert "no script 'x.R'" in done.stderr


def test_help_names_no_verb_that_does_not_work(tmp_path: Path) -> None:
    shown = shore(tmp_path, "--help").stdout
    verbs = [
        line.split()[0] for line in shown.splitlines() if line.startswith("  ") and line[2:3].isalpha()
    ]

    assert "run" in verbs
    assert "serve" not in verbs
    for verb in verbs:
        if verb not in ("Run", "shore"):
            assert shore(tmp_path, verb, "--help").returncode == 0, verb
    assert "shore cancel" in shore(tmp_path, "cancel", "--help").stdout


def test_help_without_words_is_no_error(tmp_path: Path) -> None:
    done = shore(tmp_path)

    assert done.returncode == 0
    assert "shore run train.R" in done.stdout


def test_completion_knows_verbs_options_and_jobs_seen_last(tmp_path: Path) -> None:
    from shorepower.client.seen import Seen
    from shorepower.model.job import Job

    job = Job(id="k3fqxyzabcde", name="n", owner="o", cluster="local", created_at=datetime.now(UTC))
    Seen(tmp_path / "state" / "client", "x").remember([job])

    def complete(*words: str) -> str:
        env = {
            "HOME": str(tmp_path),
            "SHORE_STATE_DIR": str(tmp_path / "state"),
            "_SHORE_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["shore", *words]),
            "COMP_CWORD": str(len(words)),
        }
        code = "from shorepower.cli.main import main; main([])"
        return subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60
        ).stdout

    assert "plain,rerun" in complete("re")
    assert "plain,--env-file" in complete("run", "--env")
    assert "k3fqxyzabcde" in complete("show", "k3")


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_is_printed(tmp_path: Path, name: str) -> None:
    assert "_SHORE_COMPLETE" in shore(tmp_path, "completion", name).stdout


def test_a_shell_that_is_not_named_is_asked_for_in_one_line(tmp_path: Path) -> None:
    told = shore(tmp_path, "completion").stderr.splitlines()[0]

    assert told.endswith("Choose from: bash, zsh, fish")
