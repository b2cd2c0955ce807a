"""Results that nobody fetched and that go soon are told unasked, by every command that people use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import SHORE, Place, a_place
from support.terminal import Terminal

pytestmark = pytest.mark.flow

SAID = "nobody fetched the results of w.sh"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


def a_job_that_goes_soon(place: Place) -> str:
    place.write("pyproject.toml", "")
    place.write("w.sh", "echo 1 > a.txt\n")
    job = place.shore("submit", "--json", "w.sh").json["id"]
    assert place.shore("wait", job).code == 0
    assert place.shore("keep", "--until", "2h", job).code == 0
    return job


def warned(place: Place, job: str) -> bool:
    return "warned_at" in place.shore("show", "--json", job).json["results"]


def test_ps_and_du_say_it_and_what_a_person_saw_is_known(place: Place) -> None:
    job = a_job_that_goes_soon(place)

    listed = place.shore("ps")
    assert SAID in listed.stderr, listed
    assert SAID not in listed.stdout
    assert not warned(place, job), "nobody reads what goes into a pipe"
    for words in (("ps", "--json"), ("ps", "--ids"), ("du", "--json"), ("du", "--expiring", "--json")):
        quiet = place.shore(*words)
        assert (quiet.code, quiet.stderr) == (0, ""), quiet
    assert not warned(place, job)

    terminal = Terminal([*SHORE, "ps"], place.env, place.project)
    terminal.expect(SAID)
    assert terminal.end() == 0
    assert warned(place, job)

    assert SAID in place.shore("du").stderr
    asked = place.shore("du", "--expiring")
    assert job[:5] in asked.stdout, asked
    assert place.shore("pull", job).code == 0
    assert SAID not in place.shore("ps").stderr
    assert "nothing goes within three days" in place.shore("du", "--expiring").stderr


def test_run_and_submit_say_it_once_a_day(place: Place) -> None:
    a_job_that_goes_soon(place)

    first, second = place.shore("run", "--", "true"), place.shore("run", "--", "true")
    assert (first.code, SAID in first.stderr) == (0, True), first
    assert SAID not in second.stderr
    (kept,) = (place.state / "client" / "reminded").iterdir()
    kept.write_text("2020-01-01T00:00:00+00:00")
    json = place.shore("submit", "--json", "--", "true")
    assert (json.code, json.stderr) == (0, ""), json
    assert SAID in place.shore("submit", "--", "true").stderr
    assert SAID not in place.shore("submit", "--", "true").stderr


def test_prune_leaves_what_nobody_fetched_unless_told(place: Place) -> None:
    job = a_job_that_goes_soon(place)

    assert place.shore("prune", "--before", "1d").code == 2
    assert place.shore("prune", "--results").code == 0
    assert place.shore("ls", job).stdout.count("a.txt") == 1
    assert place.shore("prune", "--unfetched").code == 0
    assert "a.txt" not in place.shore("ls", job).stdout
