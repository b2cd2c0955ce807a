"""What a person does with jobs, each verb once, on one private server."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from shorepower.wire.fields import unknown_in
from shorepower.wire.lines import LINES
from support.place import PATH, Place, a_place
from support.terminal import Terminal

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_place(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture
def place(server: Place, tmp_path: Path) -> Place:
    """The server's home, with a project of this test's own."""
    server.project = tmp_path / "project"
    server.project.mkdir()
    return server


def started(place: Place, *words: str) -> str:
    """A job that runs."""
    job = place.shore("submit", *words).stdout.strip()
    deadline = time.monotonic() + 30
    while place.shore("show", "--json", job).json["state"] == "PENDING":
        assert time.monotonic() < deadline
    return job


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 3", 3), ("exit 124", 124), ("kill -TERM $$", 143), ("kill -SEGV $$", 139)],
)
def test_the_exit_code_is_the_job_s(place: Place, script: str, code: int) -> None:
    assert place.shore("run", "--", "sh", "-c", script).code == code


def test_a_time_limit_is_124_and_says_how_to_go_on(place: Place) -> None:
    done = place.shore("run", "-t", "1s", "--", "sleep", "30")

    assert done.code == 124
    assert "time limit reached after" in done.stderr
    assert "-t 2s" in done.stderr


def test_both_streams_arrive_byte_for_byte(place: Place) -> None:
    place.write(
        "b.py",
        "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 999)\nsys.stderr.write('e' * 5000)\n",
    )

    done = place.shore("run", "b.py")

    assert done.raw == bytes(range(256)) * 999
    assert "e" * 5000 in done.stderr


def test_the_environment_is_exactly_what_was_agreed(place: Place) -> None:
    callers = {
        "LC_TIME": "C",
        "R_X": "1",
        "JULIA_X": "1",
        "SECRET": "no",
        "MINE": "yes",
        "https_proxy": "http://p:1",
    }
    file = place.write("vars.env", "FROM_FILE=a b\n")

    done = place.shore(
        "run", "-e", "SET=1=2", "-e", "MINE", "--env-file", str(file), "--", "env", "-0", env=callers
    )

    got = dict(pair.split("=", 1) for pair in done.stdout.split("\0") if pair)
    ours = {name: value for name, value in got.items() if not name.startswith("SHOREPOWER_")}
    wanted = {name: place.env[name] for name in ("PATH", "HOME", "LANG", "USER")}
    wanted |= {"LC_TIME": "C", "R_X": "1", "JULIA_X": "1", "https_proxy": "http://p:1"}
    wanted |= {"MINE": "yes", "SET": "1=2", "FROM_FILE": "a b", "PYTHONUNBUFFERED": "1"}
    assert ours | {"PWD": ""} == wanted | {"PWD": ""}  # the shell of the wrapper sets it


def test_a_secret_is_nowhere_but_in_the_job(place: Place) -> None:
    value = "hunter2-" + os.urandom(8).hex()
    script = "echo $((${#PW})); sleep 3"
    done = place.shore("submit", "--secret", "PW", "--", "sh", "-c", script, env={"PW": value})
    job = done.stdout.strip()
    deadline = time.monotonic() + 30
    while not place.shore("logs", job).stdout:
        assert time.monotonic() < deadline

    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert value.encode() not in line.read_bytes()
        except OSError:
            continue  # it ended meanwhile
    leaks = [
        str(file)
        for file in place.state.rglob("*")
        if file.is_file()
        and not file.is_relative_to(place.state / "secrets")
        and value.encode() in file.read_bytes()
    ]
    assert leaks == []
    assert "PW=***" in place.shore("show", job).stdout
    assert value not in place.shore("show", "--json", job).stdout
    place.shore("wait", job)
    assert list((place.state / "secrets").iterdir()) == []
    assert place.shore("logs", job).stdout.strip() == str(len(value))


def test_stdin_is_empty_unless_given(place: Place) -> None:
    place.write("in.bin", bytes(range(256)))

    assert place.shore("run", "--", "cat", stdin=b"not this").raw == b""
    assert place.shore("run", "--stdin", "-", "--", "cat", stdin=b"but this").raw == b"but this"
    assert place.shore("run", "--stdin", "in.bin", "--", "cat").raw == bytes(range(256))
    assert place.shore("run", "--stdin", "none", "--", "cat").code == 2


def test_the_project_s_own_python_is_used_and_said(place: Place) -> None:
    python = place.write(".venv/bin/python", '#!/bin/sh\necho own "$@"\n')
    python.chmod(0o755)
    place.write(".venv/pyvenv.cfg", "version = 3.12.1\n")
    place.write("a b.py", "")

    done = place.shore("run", "a b.py", "x y")

    assert done.stdout == "own a b.py x y\n"
    assert "Python 3.12.1 (the project's .venv)" in done.stderr


def test_shorepowers_own_python_is_never_used_by_accident(place: Place) -> None:
    place.write("p.py", "import sys; print(sys.prefix)")

    done = place.shore("run", "p.py", env={"PATH": f"{sys.prefix}/bin:{PATH}"})

    assert done.stdout.strip() != sys.prefix


def test_a_file_with_the_run_bit_runs_by_its_first_line(place: Place) -> None:
    place.write("tool", "#!/bin/sh\necho ran $0 $1\n").chmod(0o755)

    assert place.shore("run", "tool", "x").stdout == "ran ./tool x\n"


def test_sbatch_lines_count_and_flags_win(place: Place) -> None:
    place.write(
        "job.sh",
        "#!/bin/bash\n#SBATCH -J fit -c 1 --mem=64M\n#SBATCH -t 5 --mail-type=ALL\necho $SLURM_JOB_NAME\n",
    )

    done = place.shore("run", "-m", "128M", "--json", "job.sh")

    job = done.lines[-1]["job"]
    assert job["name"] == "fit"
    assert job["resources"] == {"cpu_count": 1.0, "memory_mib": 128, "wall_time_s": 300}
    assert "--mail-type=ALL" in done.stderr
    assert done.lines[1]["text"] == "fit\n"


def test_output_named_in_sbatch_lines_comes_home_too(place: Place) -> None:
    place.write("pyproject.toml", "[project]\n")
    place.write(
        "sub/job.sh",
        "#!/bin/bash\n#SBATCH -J fit -o logs/%x-%j.out\n#SBATCH --error=last.err\n"
        "echo out; echo err >&2; touch r.txt; exit 3\n",
    )

    done = place.shore("run", "--results", "nothing", "job.sh", cwd=place.project / "sub")

    assert (done.code, done.stdout) == (3, "out\n"), done
    job = place.shore("show", "--json", "@-1").json["id"]
    assert f"#SBATCH -o: output is also saved as sub/logs/fit-{job}.out" in done.stderr
    assert (place.project / f"sub/logs/fit-{job}.out").read_text() == "out\n"
    assert (place.project / "sub/last.err").read_text() == "err\n"
    assert not (place.project / "sub/r.txt").exists()

    again = place.shore("rerun", job)

    assert (place.project / "sub/last.err").read_text() == "err\n", again
    assert len(list((place.project / "sub/logs").iterdir())) == 2, again


def test_output_named_outside_the_project_is_said_not_to_be_saved(place: Place, tmp_path: Path) -> None:
    place.write("job.sh", f"#!/bin/bash\n#SBATCH -o {tmp_path}/x.out -e /dev/null\necho out\n")

    done = place.shore("run", "job.sh")

    assert done.stdout == "out\n"
    assert f"not used here: -o {tmp_path}/x.out (no file in the project), -e /dev/null" in done.stderr
    assert not (tmp_path / "x.out").exists()


def test_every_line_of_json_has_a_published_form(place: Place) -> None:
    script = "echo a; printf '\\377'; echo '0.5 half' > $SHOREPOWER_PROGRESS; echo x > r.txt; exit 4"
    run = place.shore("run", "--json", "--", "sh", "-c", script)
    printed = run.stdout.splitlines()
    for words in (["logs", "--json"], ["logs", "-f", "--json"], ["wait", "--pull", "--json"]):
        printed += place.shore(*words, "@-1").stdout.splitlines()
    printed += place.shore("events", "--no-follow", "--json").stdout.splitlines()

    kinds = {kind.__struct_config__.tag: kind for kind in LINES}
    seen = set()
    for text in printed:
        line = json.loads(text)
        kind = kinds[line["type"]]
        msgspec.json.decode(text, type=kind)
        assert {one.key for one in unknown_in(line, kind)} <= {"type"}
        assert line["v"] == 1
        seen.add(line["type"])

    assert seen >= {"job", "output", "event", "end"}
    assert run.lines[-1]["home"]["written"] == ["r.txt"]


def test_it_starts_where_the_user_stands(place: Place) -> None:
    place.write("pyproject.toml", "[project]\n")
    place.write("sub/x.sh", "pwd; ls; echo r > r.txt\n")

    done = place.shore("run", "x.sh", cwd=place.project / "sub")

    assert done.stdout.splitlines()[0].endswith("/project/sub")
    assert (place.project / "sub" / "r.txt").exists()


def test_in_place_nothing_is_sent(place: Place) -> None:
    place.write("a.txt", "1")

    done = place.shore("run", "--in-place", "--", "sh", "-c", "pwd; cat a.txt; echo 2 > b.txt")

    assert done.stdout.splitlines() == [str(place.project), "1"]
    assert (place.project / "b.txt").exists()
    assert list(place.project.glob(".shore-probe*")) == []


def test_dry_run_lists_and_sends_nothing(place: Place) -> None:
    place.write("a.sh", "echo")
    place.write(".env", "PW=1")
    before = place.shore("ps", "-a", "--ids").stdout

    done = place.shore("run", "--dry-run", "a.sh")

    assert "a.sh" in done.stdout
    assert ".env" in done.stdout
    assert place.shore("ps", "-a", "--ids").stdout == before
    assert {one["path"] for one in place.shore("run", "--dry-run", "--json", "a.sh").json["sent"]} == {
        "a.sh"
    }


def test_more_than_there_is_is_refused_with_what_there_is(place: Place) -> None:
    place.write("a.sh", "echo")

    done = place.shore("run", "-c", "4000", "-m", "900T", "-p", "long", "--on", "local", "a.sh")

    assert done.code == 2
    assert "asked 4000 cpus; cluster 'local' has" in done.stderr
    assert "asked 900 TiB of memory" in done.stderr
    assert "has no queues" in done.stderr
    assert "no cluster 'loca'; did you mean 'local'?" in place.shore("run", "--on", "loca", "a.sh").stderr


def test_suspend_resume_stop(place: Place) -> None:
    job = started(place, "--", "sleep", "60")

    assert "SUSPENDED" in place.shore("suspend", job).stderr
    assert "RUNNING" in place.shore("resume", job).stderr
    stopped = place.shore("stop", job)
    assert stopped.code == 0
    assert "CANCELED" in stopped.stderr
    assert place.shore("wait", job).code == 143
    assert place.shore("stop", job).code == 1
    assert place.shore("stop", "zzzz").code == 123


def test_several_at_once_and_cancel_is_stop(place: Place) -> None:
    jobs = [started(place, "--", "sleep", "60"), place.shore("submit", "--", "sleep", "60").stdout.strip()]

    assert place.shore("cancel", *jobs).code == 0
    assert place.shore("wait", *jobs).code == 1
    done = place.shore("kill", "--json", *jobs)
    assert done.code == 1


def test_jobs_are_named_in_every_way(place: Place) -> None:
    job = place.shore("submit", "-J", "my fit", "--tag", "kind=test", "--", "true").stdout.strip()

    names = [job, job[:7], "@my fit", "@-1"]
    assert [place.shore("show", "--json", name).json["id"] for name in names] == [job] * 4
    assert place.shore("ps", "--ids", "--tag", "kind=test").stdout.split() == [job]
    assert place.shore("ps", "--ids", "-J", "my fit").stdout.split() == [job]
    assert place.shore("ps", "--ids", "--tag", "kind=other").stdout == ""


def test_submit_never_fetches_and_pull_does(place: Place) -> None:
    place.write(
        "w.sh", "echo 1 > a.txt; mkdir -p d; echo 2 > d/b.txt; echo 3 > $SHOREPOWER_RESULTS_DIR/c.txt\n"
    )
    job = place.shore("submit", "w.sh").stdout.strip()
    assert place.shore("wait", job).code == 0
    assert not (place.project / "a.txt").exists()

    listed = place.shore("ls", job)
    assert all(name in listed.stdout for name in ("a.txt", "d/b.txt", "c.txt"))
    assert place.shore("pull", job, "d/*").code == 0
    assert not (place.project / "a.txt").exists()
    assert (place.project / "d" / "b.txt").read_text() == "2\n"
    pulled = place.shore("pull", job)
    assert pulled.code == 0, pulled
    assert (place.project / "a.txt").read_text() == "1\n"
    assert (place.project / "shore-results" / f"w.sh-{job}" / "c.txt").read_text() == "3\n"
    assert place.shore("pull", "--undo", job).code == 0
    assert not (place.project / "a.txt").exists()
    elsewhere = place.project / "elsewhere"
    assert place.shore("pull", "--to", str(elsewhere), job).code == 0
    assert (elsewhere / "a.txt").exists()


def test_a_file_of_the_user_is_never_overwritten(place: Place) -> None:
    place.write("w.sh", "echo job > a.txt\n")
    job = place.shore("submit", "w.sh").stdout.strip()
    place.write("a.txt", "mine")

    done = place.shore("wait", "--pull", job)

    assert (place.project / "a.txt").read_text() == "mine"
    assert [file.read_text() for file in place.project.glob("a.*.txt")] == ["job\n"]
    assert "a.txt here is yours and stays" in done.stderr


def test_rerun_asks_for_other_resources_and_for_secrets_again(place: Place) -> None:
    place.write("r.sh", "echo $((SHOREPOWER_MEMORY_MIB)) ${#PW}; cat v.txt\n")
    place.write("v.txt", "frozen\n")
    job = place.shore("submit", "-m", "64M", "--secret", "PW", "r.sh", env={"PW": "abc"}).stdout.strip()
    place.write("v.txt", "changed since\n")

    again = place.shore("rerun", "-m", "128M", job, env={"PW": "abcdef"})

    assert again.stdout == "128 6\nfrozen\n"
    assert place.shore("rerun", job).code == 2
    assert place.shore("rerun", "--detach", job, env={"PW": "x"}).stdout.strip() != job


def test_a_failed_job_is_told_what_it_missed(place: Place) -> None:
    place.write(
        "m.py", "import os, sys\nprint(os.environ.get('API_KEY'))\nsys.exit('cannot read private/x.csv')\n"
    )
    place.write("private/x.csv", "1")
    place.write(".shoreignore", "private/\n")

    done = place.shore("run", "m.py", env={"API_KEY": "k"})

    assert done.code == 1
    assert "-e API_KEY" in done.stderr
    assert "its output names what was not sent: private/" in done.stderr


def test_the_other_verbs(place: Place) -> None:
    job = place.shore("submit", "--", "true").stdout.strip()
    place.shore("wait", job)

    assert place.shore("keep", "--forever", job).code == 0
    assert place.shore("keep", "--until", "60d", job).code == 0
    assert place.shore("prune").code == 0
    assert place.shore("du", "--json").json["job_count"] > 0
    assert [one["name"] for one in place.shore("clusters", "--json").json["clusters"]] == ["local"]
    assert place.shore("whoami", "--json").json["caller"]["via"] == "socket"
    assert Path(place.shore("server", "status", "--json").json["socket"]).is_socket()
    events = [
        json.loads(line)["event"]
        for line in place.shore("events", "--no-follow", "--json").stdout.splitlines()
    ]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    assert job in {event["job"] for event in events}
    assert place.shore("doctor").code == 0
    findings = place.shore("doctor", "--json").json["findings"]
    assert {"server", "state", "cluster local"} <= {one["what"] for one in findings}
    secret = place.shore("token", "create", "--name", "ci", "--scope", "read").stdout.strip()
    assert secret.startswith("shp_")
    (token,) = place.shore("token", "list", "--json").json["tokens"]
    assert secret not in json.dumps(token)
    assert place.shore("token", "revoke", token["id"]).code == 0
    assert "revoked" in place.shore("token", "list").stdout


def test_a_token_is_revoked_by_its_name_where_that_is_one(place: Place) -> None:
    for name in ("nightly", "twice", "twice", "other"):
        place.shore("token", "create", "--name", name, "--scope", "read")

    def living() -> list[str]:
        known = place.shore("token", "list", "--json").json["tokens"]
        return sorted(one["name"] for one in known if not one.get("revoked_at") and one["name"] != "ci")

    several = place.shore("token", "revoke", "nightly", "twice", "nope")
    missing = place.shore("token", "revoke", "other", "nightley")

    assert (several.code, missing.code) == (2, 123)
    assert "several tokens are called 'twice'; give an id: " in several.stderr
    assert "no token 'nope'" in several.stderr
    assert "did you mean 'nightly'?" in missing.stderr
    assert living() == ["nightly", "other", "twice", "twice"]
    assert place.shore("token", "revoke", "nightly", "other").code == 0
    assert living() == ["twice", "twice"]
    assert place.shore("token", "revoke", "nightly").code == 123


def test_an_unreachable_server_is_121_with_what_was_last_seen(place: Place) -> None:
    place.shore("run", "-J", "remembered", "--", "echo", "text")
    socket = next((place.runtime / "shorepower").glob("*.sock"))
    url = {"SHORE_SERVER": f"unix://{socket}"}
    place.shore("ps", env=url)
    place.shore("logs", "-f", "@remembered", env=url)
    gone = {"SHORE_SERVER": f"unix://{socket}", "SHORE_AUTOSTART": "0"}
    place.shore("server", "stop")

    listed, shown, logged = (
        place.shore(*words, env=gone)
        for words in (["ps"], ["show", "@remembered"], ["logs", "@remembered"])
    )

    assert {listed.code, shown.code, logged.code} == {121}
    assert "remembered" in listed.stdout
    assert "as last seen" in listed.stderr
    assert "COMPLETED" in shown.stdout
    assert logged.stdout == "text\n"


def test_what_was_followed_is_shown_while_your_own_server_is_away(place: Place) -> None:
    place.shore("run", "-J", "followed", "--", "sh", "-c", "echo one; echo two; echo bad >&2")
    job = place.shore("submit", "--", "sh", "-c", "echo half; sleep 60").stdout.strip()
    watching = place.start("logs", "-f", job)
    assert watching.stdout is not None
    assert watching.stdout.readline() == b"half\n"
    watching.kill()
    watching.wait()
    place.shore("kill", job)
    place.shore("logs", "-f", "--tail", "1", "@followed")
    place.shore("server", "stop")
    away = {"SHORE_AUTOSTART": "0"}

    logged = place.shore("logs", "@followed", env=away)
    last = place.shore("logs", "--tail", "1", "--stream", "stdout", "@followed", env=away)
    lines = place.shore("logs", "--json", "@followed", env=away)
    half = place.shore("logs", job[:6], env=away)

    assert {logged.code, last.code, lines.code, half.code} == {121}
    assert (logged.stdout, last.stdout, half.stdout) == ("one\ntwo\n", "two\n", "half\n")
    assert "bad\n" in logged.stderr
    assert "only what was followed here before: followed was completed then" in logged.stderr
    assert "".join(line["text"] for line in lines.lines if line["stream"] == "stdout") == "one\ntwo\n"
    assert place.shore("logs", "zzzz", env=away).stdout == ""


def test_ctrl_c_before_the_submit_leaves_nothing(place: Place) -> None:
    place.shore("ps")
    before = place.shore("ps", "-a", "--ids").stdout
    pid = place.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        terminal = Terminal(
            [sys.executable, "-m", "shorepower", "run", "--", "true"], place.env, place.project
        )
        time.sleep(1.0)  # it waits for the halted server now, whatever it has got to
        terminal.type("\x03")
        assert terminal.end() == 130
    finally:
        os.kill(pid, signal.SIGCONT)

    assert "nothing was submitted" in terminal.seen
    assert place.shore("ps", "-a", "--ids").stdout == before


@pytest.mark.parametrize("verb", ["stop", "wait"])
def test_each_name_that_fits_no_job_is_told(place: Place, verb: str) -> None:
    done = place.shore(verb, "qqqqq", "rrrrr")

    assert done.code == 123
    assert [name for name in ("qqqqq", "rrrrr") if name in done.stderr] == ["qqqqq", "rrrrr"]
