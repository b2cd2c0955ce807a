"""What earlier runs of a script used is shown, and asked for by it."""

import re
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
    assert "(kept free for it, but not enforced)" in again.stderr


def test_a_call_has_no_earlier_runs_to_go_by(place: Place) -> None:
    with (
        Client(environ=place.env, start=False) as client,
        pytest.raises(InvalidRequest, match="auto is not for calls"),
    ):
        client.with_options(memory="auto")
