"""What earlier runs of a script used is shown, and asked for by it."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shorepower.client.client import Client
from shorepower.model.errors import InvalidRequest
from support.place import Place, a_place

pytestmark = pytest.mark.flow


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


HUNGRY = """
import time
held = bytearray(80 << 20)
time.sleep(1.5)
print(len(held))
"""


def test_amounts_left_to_earlier_runs(place: Place) -> None:
    place.write("hungry.py", HUNGRY)
    first = place.shore("run", "-m", "auto", "hungry.py")
    assert first.code == 0, first
    assert "auto: no earlier run of hungry.py here tells how much memory it needs" in first.stderr
    assert "asks for" not in first.stderr

    second = place.shore("run", "-m", "512", "-c", "1", "hungry.py")
    told = re.search(r"asks for 1 cpu, 512 MiB of memory.* · the last run used ([\d.]+) MiB", second.stderr)
    assert told, second
    assert 80 <= float(told[1]) < 512

    third = place.shore("run", "-m", "auto", "-c", "auto", "hungry.py")
    told = re.search(
        r"asks for 1 cpu, (\d+) MiB of memory.* · the last 2 runs used at most ([\d.]+)", third.stderr
    )
    assert told, third
    assert float(told[2]) < int(told[1]) < 512
    assert place.shore("show", "@-1", "--json").json["resources"]["memory_mib"] == int(told[1])

    again = place.shore("rerun", "-m", "auto", "@-2")
    assert again.code == 0, again
    assert "the last 3 runs used at most" in again.stderr


def test_a_call_has_no_earlier_runs_to_go_by(place: Place) -> None:
    with (
        Client(environ=place.env, start=False) as client,
        pytest.raises(InvalidRequest, match="auto is not for calls"),
    ):
        client.with_options(memory="auto")


def test_more_memory_than_asked_for_is_137_with_both_figures(place: Place) -> None:
    place.write("hungry.py", HUNGRY.replace("time.sleep(1.5)", "time.sleep(60)"))
    done = place.shore("run", "-m", "64", "hungry.py")
    assert done.code == 137, done
    told = re.search(r"out of memory after .*: asked 64 MiB, reached ([\d.]+) MiB when it was", done.stderr)
    assert told, done
    assert float(told[1]) > 64
    assert re.search(r"try: shore rerun \w+ -m 128M", done.stderr), done
    again = place.shore("run", "-m", "auto", "-t", "5s", "hungry.py")
    assert "; 64 MiB was not enough" in again.stderr
    assert again.code == 124, again


def test_top_shows_what_runs_and_what_it_takes(place: Place) -> None:
    place.write("hungry.py", HUNGRY.replace("time.sleep(1.5)", "time.sleep(60)"))
    job = place.shore("submit", "-m", "512", "-c", "1", "hungry.py").stdout.strip()
    deadline = time.monotonic() + 60
    while not (told := re.search(r"([\d.]+) MiB of 512 MiB", place.shore("top").stdout)):
        assert time.monotonic() < deadline
    assert float(told[1]) > 0
    (shown,) = place.shore("top", "--json").json["jobs"]
    assert (shown["id"], shown["state"]) == (job, "RUNNING")
    place.shore("kill", job)
    place.shore("wait", job)
    assert place.shore("top").stdout.splitlines()[-1] == "nothing runs"
