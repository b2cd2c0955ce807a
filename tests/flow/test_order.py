"""Jobs that come after others, or not before a moment, through the command line and a killed server."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import Place, a_place

pytestmark = pytest.mark.flow


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


def _submit(place: Place, *words: str) -> str:
    done = place.shore("submit", *words)
    assert done.code == 0, done
    return done.stdout.strip()


def test_a_chain_goes_on_over_a_killed_server(place: Place) -> None:
    go, log = place.home / "go", place.home / "log"
    waits = f"while [ ! -e {go} ]; do sleep 0.02; done; echo first >> {log}"
    first = _submit(place, "-J", "prep", "--", "sh", "-c", waits)
    second = _submit(place, "--after-ok", "@prep", "--", "sh", "-c", f"echo second >> {log}")
    _submit(place, "--after-any", second, "--", "sh", "-c", f"echo third >> {log}")
    told = place.shore("show", second, "--json").json
    assert (told["state"], told["reason"]) == ("PENDING", "HELD")
    assert f"waits for {first[:5]} (prep) to complete" in place.shore("ps").stdout
    place.kill()
    go.touch()
    done = place.shore("wait", "@-1", "@-2", "@-3")
    assert done.code == 0, done
    assert log.read_text() == "first\nsecond\nthird\n"


def test_what_can_not_be_met_is_120_and_names_the_cause(place: Place) -> None:
    go = place.home / "go"
    first = _submit(place, "--", "sh", "-c", f"while [ ! -e {go} ]; do sleep 0.02; done; exit 3")
    attached = place.start("run", "--after-ok", first, "--", "echo", "never")
    deadline = time.monotonic() + 60
    while "to complete" not in place.shore("ps").stdout:
        assert time.monotonic() < deadline
    go.touch()
    out, err = attached.communicate(timeout=60)
    assert (attached.returncode, out) == (120, b"")
    why = f"{first[:5]} (sh) failed, and this was to come after it completed"
    assert f"never started: {why}" in err.decode()
    refused = place.shore("submit", "--after-ok", first, "--after", "@nobody", "--", "true")
    assert refused.code == 2
    assert "--after '@nobody': no job of yours has the name 'nobody'" in refused.stderr


def test_one_task_of_an_array_and_sbatch_lines(place: Place) -> None:
    array = _submit(place, "-a", "1-4", "--", "sh", "-c", "[ $SHOREPOWER_TASK_INDEX != 3 ]")
    place.shore("wait", array)
    place.write("next.sh", f"#!/bin/sh\n#SBATCH --dependency=afterok:{array}_2\necho after two\n")
    done = place.shore("run", "next.sh")
    assert (done.code, done.stdout) == (0, "after two\n"), done
    refused = place.shore("run", "--after-ok", f"{array}_1-2,4,3", "--", "true")
    assert refused.code == 2
    assert f"{array}_3 has ended (FAILED): nothing can come after it completed" in refused.stderr


def test_not_before_a_moment_until_it_is_stopped_or_due(place: Place) -> None:
    later = _submit(place, "--not-before", "+2h", "--", "true")
    told = place.shore("show", later, "--json").json
    assert (told["state"], told["reason"]) == ("PENDING", "BEGIN_TIME")
    assert "starts not before 20" in place.shore("show", later).stdout
    stopped = place.shore("stop", later)
    assert stopped.code == 0, stopped
    assert place.shore("wait", later).code == 143
    again = place.shore("rerun", later)
    assert again.code == 0, again
    soon = place.shore("run", "--not-before", "+1s", "--", "echo", "due")
    assert soon.stdout == "due\n"
    wrong = place.shore("run", "--not-before", "soon", "--dependency", "singleton", "--", "true")
    assert wrong.code == 2
    assert "'soon' is no moment" in wrong.stderr
    assert "'singleton' is no dependency known here" in wrong.stderr
