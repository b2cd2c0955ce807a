"""`shore pull` as a person uses it: what it says when there is nothing to do, and what it refuses."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import SHORE, Place, a_place

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_place(tmp_path_factory.mktemp("home")) as made:
        made.write("pyproject.toml", "")
        yield made


@pytest.fixture(scope="module")
def job(place: Place) -> str:
    place.write(
        "w.sh", "echo 1 > a.csv; echo 2 > $(printf 'b\\377'); ln -s $(printf 'no\\376') l; chmod +x tool\n"
    )
    place.write("tool", "echo\n").chmod(0o644)
    made = place.shore("submit", "--json", "w.sh").json["id"]
    assert place.shore("wait", made).code == 0
    return made


def test_a_glob_that_fits_nothing_is_told_with_what_there_is(place: Place, job: str) -> None:
    done = place.shore("pull", job, "fig/*", "*.rds")

    assert (done.code, done.stdout) == (1, ""), done
    assert "nothing fits fig/*, *.rds: there is a.csv, b\\xff, l, tool" in done.stderr
    as_json = place.shore("pull", "--json", job, "fig/*")
    assert as_json.code == 1
    assert as_json.json["faults"][0].startswith("nothing fits fig/*")


def test_a_file_is_no_place_for_results(place: Place, job: str) -> None:
    place.write("mine.txt", "mine")

    done = place.shore("pull", "--to", "mine.txt", job)

    assert done.code == 2, done
    assert "--to 'mine.txt': that is no folder" in done.stderr
    assert (place.project / "mine.txt").read_text() == "mine"


def test_names_that_are_not_utf_8_are_shown_alike_everywhere(place: Place, job: str) -> None:
    listed = place.shore("ls", job)
    pulled = place.shore("pull", "--to", "elsewhere", job)

    for told in (listed.stdout, pulled.stderr):
        assert "b\\xff" in told, told
        assert "udc" not in told
    assert "l -> no\\xfe" in listed.stdout


def test_the_run_bit_comes_home(place: Place, job: str) -> None:
    assert not (place.project / "tool").stat().st_mode & 0o100

    done = place.shore("pull", job)

    assert (done.code, "tool" in done.stderr) == (0, True), done
    assert (place.project / "tool").stat().st_mode & 0o100
    assert place.shore("pull", "--undo", job).code == 0
    assert not (place.project / "tool").stat().st_mode & 0o100


def test_names_that_are_not_utf_8_are_no_defect_in_json_and_commands(place: Place, job: str) -> None:
    name = os.fsdecode(b"odd\xff")
    place.write(name, "x")
    place.write("true.sh", "true\n")

    dry = place.shore("run", "--dry-run", "--json", "true.sh")
    pulled = place.shore("pull", "--json", "--to", os.fsdecode(b"to\xff"), job)

    assert dry.code == 0, dry
    assert "odd\\xff" in [one["path"] for one in dry.json["sent"]]
    assert pulled.code == 0, pulled
    assert pulled.json["folder"].endswith("to\\xff")
    for words, code, told in (
        (("show", name), 123, ""),
        (("ps", "--name", name), 0, ""),
        (("pull", "--to", name, job), 2, "--to 'odd\\xff': that is no folder"),
        (("run", os.fsdecode(b"n\xff.sh")), 2, "no script 'n\\xff.sh'"),
        (("run", "--", name), 2, "odd\\xff"),
        (("run", "--data", os.fsdecode(b"d\xff"), "true.sh"), 2, "d\\xff"),
    ):
        done = place.shore(*words)
        assert "defect" not in done.stderr and "udc" not in done.stderr, done
        assert told in done.stderr, done
        assert done.code in (code, 2), done


def test_results_that_cannot_be_written_here_are_said_to_stay(place: Place) -> None:
    run = [*SHORE, "run", "--", "sh", "-c", "echo 1 > small; head -c 9000000 /dev/zero > large; exit 4"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 2048; exec "$@"', "sh", *run],
        env=place.env,
        cwd=place.project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    job = place.shore("ps", "--ids").stdout.split()[0]
    assert done.returncode == 4, done
    assert (place.project / "small").read_text() == "1\n"
    assert f"the rest stays on the server: shore pull {job[:5]}" in done.stderr, done
    assert place.shore("pull", job).code == 0
    assert (place.project / "large").stat().st_size == 9_000_000


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_what_could_not_be_collected_is_told_by_every_pull(tmp_path: Path) -> None:
    with a_place(tmp_path) as place:
        place.write("pyproject.toml", "")
        place.write("w.sh", "echo 1 > a; echo 2 > b; chmod 000 b\n")
        job = place.shore("submit", "--ids", "w.sh").stdout.strip()
        place.shore("wait", job)

        pulled, listed = place.shore("pull", job), place.shore("ls", job)

        assert "home: a" in pulled.stderr, pulled
        assert "b could not be collected: Permission denied" in pulled.stderr, pulled
        assert "results are partial: b could not be collected" in listed.stderr, listed
