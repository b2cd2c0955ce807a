"""A project goes out and its results come home: any name, any kind of file, ignored or not."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import Place, a_place

pytestmark = pytest.mark.flow

ODD = [
    b"with space.txt",
    b" leading and trailing ",
    b"quote'\"`$(touch pwned).txt",
    b"-rf",
    b"--help",
    b"new\nline.txt",
    b"tab\there",
    b"back\\slash",
    b"star*?[a].txt",
    b"#hash",
    b"!bang",
    b"Case.txt",
    b"case.txt",
    b"\xff\xfe not utf-8",
    b"\xe4 latin-1",
    "ümlaut 文字 🚢".encode(),
    "u\u0308 decomposed".encode(),
    b"esc\x1b[31mred",
    b"~",
    b"%41",
    b"a" * 255,
]


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


def git(place: Place, *words: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=u", "-c", "user.email=u@u", *words],
        cwd=place.project,
        env=place.env,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


# scripts


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "import sys\nprint('out', *sys.argv[1:])\nprint('err', file=sys.stderr)\nsys.exit(5)\n"),
        ("a.sh", 'echo out "$@"\necho err >&2\nexit 5\n'),
        (
            "a.R",
            'cat("out", commandArgs(trailingOnly = TRUE))\ncat("\\n")\nmessage("err")\nquit(status = 5)\n',
        ),
    ],
)
def test_a_script_runs_and_stdout_is_its_own(place: Place, name: str, text: str) -> None:
    if name == "a.R" and shutil.which("Rscript", path=place.env["PATH"]) is None:
        pytest.skip("Rscript is not installed")
    place.write(name, text)

    done = place.shore("run", name, "--one", "two words", "$HOME", "-x")

    assert (done.code, done.stdout) == (5, "out --one two words $HOME -x\n"), done
    assert "err\n" in done.stderr
    assert all(line.startswith("shore: ") for line in done.stderr.splitlines() if line != "err"), done


# what git ignores


def test_what_git_ignores_comes_home_all_the_same(place: Place) -> None:
    git(place, "init", "-q")
    place.write(".gitignore", "data/\n*.rds\nresults/\n")
    place.write("data/in.csv", "1\n2\n")
    place.write(
        "fit.sh",
        "set -e\n"
        "tail -n 1 data/in.csv > results.txt\n"
        "echo 3 > data/made.csv\n"
        "echo model > model.rds\n"
        "mkdir -p results/deep\necho r > results/deep/r.txt\n"
        "echo changed >> kept.txt\n",
    )
    place.write("kept.txt", "kept\n")
    git(place, "add", ".")
    git(place, "commit", "-qm", "x")

    done = place.shore("run", "fit.sh")

    assert done.code == 0, done
    assert (place.project / "data" / "made.csv").read_text() == "3\n"
    assert (place.project / "model.rds").read_text() == "model\n"
    assert (place.project / "results" / "deep" / "r.txt").read_text() == "r\n"
    assert (place.project / "kept.txt").read_text() == "kept\nchanged\n"
    assert (place.project / "results.txt").read_text() == "2\n"
    changed = {line[3:] for line in git(place, "status", "--porcelain").splitlines()}
    assert changed == {"kept.txt", "results.txt"}


def test_what_shoreignore_holds_back_stays_and_results_narrow(place: Place) -> None:
    place.write("pyproject.toml", "")
    place.write(".shoreignore", "*.log\nbig/\n")
    place.write("w.sh", "mkdir big; echo 1 > big/a; echo 2 > x.log; echo 3 > a.csv; echo 4 > b.txt\n")

    assert place.shore("run", "w.sh").code == 0
    assert sorted(path.name for path in place.project.iterdir()) == [
        ".shoreignore", "a.csv", "b.txt", "pyproject.toml", "w.sh",
    ]  # fmt: skip
    for name in ("a.csv", "b.txt"):
        (place.project / name).unlink()
    assert place.shore("run", "--results", "*.csv", "w.sh").code == 0
    assert (place.project / "a.csv").exists()
    assert not (place.project / "b.txt").exists()


# names


def test_odd_names_go_out_and_come_home(place: Place) -> None:
    root = os.fsencode(place.project)
    place.write("pyproject.toml", "")
    for name in ODD:
        with open(os.path.join(root, name), "wb") as file:
            file.write(b"in " + name)
    os.makedirs(os.path.join(root, b"dir \xff\n", b"-x"))
    with open(os.path.join(root, b"dir \xff\n", b"-x", b"\xff"), "wb") as file:
        file.write(b"deep")
    place.write(
        "swap.py",
        "import os\n"
        "os.mkdir(b'out')\n"
        "for name in sorted(os.listdir(b'.')):\n"
        "    if os.path.isfile(name) and name not in (b'swap.py', b'pyproject.toml'):\n"
        "        data = open(name, 'rb').read()\n"
        "        assert data == b'in ' + name, name\n"
        "        open(os.path.join(b'out', name), 'wb').write(b'out ' + name)\n"
        "        open(name, 'ab').write(b' changed')\n"
        "deep = os.path.join(b'dir \\xff\\n', b'-x', b'\\xff')\n"
        "assert open(deep, 'rb').read() == b'deep'\n"
        "open(deep + b'2', 'wb').write(b'made')\n",
    )

    done = place.shore("run", "swap.py")

    assert done.code == 0, done
    for name in ODD:
        with open(os.path.join(root, name), "rb") as file:
            assert file.read() == b"in " + name + b" changed", name
        with open(os.path.join(root, b"out", name), "rb") as file:
            assert file.read() == b"out " + name, name
    with open(os.path.join(root, b"dir \xff\n", b"-x", b"\xff2"), "rb") as file:
        assert file.read() == b"made"
    assert not (place.project / "pwned").exists()
    assert "\x1b" not in done.stderr
    listed = place.shore("ls", "@-1")
    assert listed.code == 0
    assert "\x1b" not in listed.stdout + listed.stderr
    assert len(place.shore("ls", "--json", "@-1").json["entries"]) == 2 * len(ODD) + 1


@pytest.mark.parametrize(
    "name",
    ["my script.sh", "it's.sh", 'a"b.sh', "-n.sh", "a;b.sh", "ü.sh", "line\nbreak.sh", "x" * 252 + ".sh"],
)
def test_a_script_may_have_an_odd_name(place: Place, name: str) -> None:
    place.write(name, "echo ran\n")

    done = place.shore("run", f"./{name}" if name.startswith("-") else name)

    assert (done.code, done.stdout) == (0, "ran\n"), done
    assert place.shore("ps").code == 0
    assert place.shore("show", "@-1").code == 0


def test_a_script_whose_name_is_not_utf_8_is_told_and_not_run(place: Place) -> None:
    """A specification is JSON; anything else of the project may have such a name."""
    name = os.fsdecode(b"\xff.sh")
    place.write(name, "echo ran\n")

    done = place.shore("run", name)

    assert (done.code, done.stdout) == (2, ""), done
    assert "UTF-8" in done.stderr
    assert place.shore("run", "--", "sh", name).code == 2


@pytest.mark.parametrize("name", ["a b", "'; rm -rf /", "../../etc", "ümlaut", "-x", "a" * 200])
def test_a_job_may_have_an_odd_name(place: Place, name: str) -> None:
    script = 'echo r > $SHOREPOWER_RESULTS_DIR/r.txt; echo "$SHOREPOWER_NAME"'
    done = place.shore("run", f"--name={name}", "--", "sh", "-c", script)

    assert (done.code, done.stdout) == (0, f"{name}\n"), done
    (folder,) = (place.project / "shore-results").iterdir()
    assert (folder / "r.txt").read_text() == "r\n"
    assert folder.parent == place.project / "shore-results"


# kinds of files


def own_umask() -> int:
    """What files that come home are narrowed by."""
    os.umask(umask := os.umask(0o077))
    return umask


def test_kinds_modes_and_times_survive_both_ways(place: Place) -> None:
    place.write("pyproject.toml", "")
    moment = 1_600_000_000_123_456_789
    place.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    place.write("read.txt", "x").chmod(0o444)
    os.utime(place.project / "read.txt", ns=(moment, moment))
    (place.project / "empty").mkdir()
    (place.project / "link").symlink_to("read.txt")
    (place.project / "away").symlink_to("/nowhere/at/all")
    os.mkfifo(place.project / "pipe")
    place.write(
        "look.py",
        "import os, stat\n"
        "def mode(p): return stat.S_IMODE(os.lstat(p).st_mode)\n"
        "print(oct(mode('run.sh')), oct(mode('read.txt')), os.stat('read.txt').st_mtime_ns)\n"
        "print(os.readlink('link'), os.readlink('away'), os.listdir('empty'), os.path.exists('pipe'))\n"
        "os.mkdir('new-empty')\n"
        "open('exe', 'w').write('#!/bin/sh\\n'); os.chmod('exe', 0o750)\n"
        "open('dated', 'w').write('x'); os.utime('dated', ns=(5 * 10**17 + 7, 5 * 10**17 + 7))\n"
        "os.symlink('exe', 'new-link')\n",
    )

    done = place.shore("run", "look.py")

    assert done.code == 0, done
    assert done.stdout.splitlines() == [
        f"0o755 0o444 {moment}",
        "read.txt /nowhere/at/all [] False",
    ]
    assert "pipe" in done.stderr
    assert "away" in done.stderr
    assert (place.project / "new-empty").is_dir()
    assert stat.S_IMODE((place.project / "exe").stat().st_mode) == 0o750 & ~own_umask()
    assert (place.project / "dated").stat().st_mtime_ns == 5 * 10**17 + 7
    assert os.readlink(place.project / "new-link") == "exe"
    assert (place.project / "read.txt").stat().st_mtime_ns == moment


def test_a_job_cannot_write_through_a_link_or_outside(place: Place, tmp_path: Path) -> None:
    """What a job leaves where its results lie cannot make a pull write elsewhere."""
    place.write("pyproject.toml", "")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("mine")
    (place.project / "out").symlink_to(outside)
    place.write("evil.sh", "rm -f out; mkdir out; echo theirs > out/mine.txt; ln -s /etc/passwd p\n")

    done = place.shore("run", "evil.sh")

    assert done.code == 0, done
    assert (outside / "mine.txt").read_text() == "mine"
    assert [path.name for path in outside.iterdir()] == ["mine.txt"]


def test_secret_like_files_are_never_kept(place: Place) -> None:
    place.write("pyproject.toml", "")
    place.write(".env", "PW=geheim-1234567\n")
    place.write("key.pem", "geheim-1234567\n")
    place.write("show.sh", "cat .env\n")

    done = place.shore("run", "show.sh")

    assert (done.code, done.stdout) == (0, "PW=geheim-1234567\n"), done
    kept = [
        path
        for path in (place.state / "blobs").rglob("*")
        if path.is_file() and b"geheim-1234567" in path.read_bytes()
    ]
    assert kept == []


def test_undo_puts_back_what_was_there(place: Place) -> None:
    place.write("pyproject.toml", "")
    place.write("a.txt", "before\n")
    place.write("w.sh", "echo after > a.txt; echo new > b.txt\n")
    assert place.shore("run", "w.sh").code == 0
    assert (place.project / "a.txt").read_text() == "after\n"

    done = place.shore("pull", "--undo", "@-1")

    assert done.code == 0, done
    assert (place.project / "a.txt").read_text() == "before\n"
    assert not (place.project / "b.txt").exists()


def test_after_a_failure_a_stop_and_a_time_limit_results_come_home(place: Place) -> None:
    place.write("pyproject.toml", "")
    place.write("f.sh", "echo 1 > failed.txt; exit 9\n")
    place.write("t.sh", "echo 2 > late.txt; sleep 60\n")
    place.write("s.sh", "echo 3 > stopped.txt; echo ready; sleep 60\n")

    assert place.shore("run", "f.sh").code == 9
    assert place.shore("run", "-t", "1s", "t.sh").code == 124
    run = place.start("run", "s.sh")
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    assert place.shore("stop", "@-1").code == 0
    run.communicate(timeout=60)
    assert run.returncode == 143
    for name in ("failed.txt", "late.txt", "stopped.txt"):
        assert (place.project / name).exists(), name


def test_a_running_job_gives_what_is_there(place: Place) -> None:
    place.write("pyproject.toml", "")
    place.write("r.sh", "echo 1 > soon.txt; echo ready; sleep 60\n")
    run = place.start("run", "r.sh")
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"

    assert place.shore("pull", "@-1").code == 0
    assert (place.project / "soon.txt").read_text() == "1\n"
    assert place.shore("kill", "@-1").code == 0
    run.communicate(timeout=60)
    assert run.returncode == 137
