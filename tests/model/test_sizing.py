"""What earlier runs used, and what is asked for by it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.job import Job
from shorepower.model.lifecycle import Reason, State
from shorepower.model.resources import Resources
from shorepower.model.sizing import Need, need_of, same_script, sized
from shorepower.model.usage import Usage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def run(
    peak_mib: float = 100.0,
    *,
    busy: float = 0.5,
    seconds: float = 10.0,
    state: State = State.COMPLETED,
    reason: Reason | None = None,
    asked_mib: int | None = None,
    script: str = "fit.R",
    project: str = "/p",
) -> Job:
    return Job(
        id="a" * 12,
        name="fit.R",
        owner="ada",
        cluster="local",
        script=script,
        project=project,
        state=state,
        reason=reason,
        created_at=NOW,
        resources=Resources(memory_mib=asked_mib),
        usage=Usage(wall_time_s=seconds, cpu_time_s=busy * seconds, peak_memory_mib=peak_mib),
    )


def test_the_most_of_the_newest_five_runs_counts() -> None:
    need = need_of([run(3481.0, busy=1.2), *[run(100.0)] * 4, run(60_000.0, busy=64.0)])

    assert need == Need(run_count=5, peak_memory_mib=3481.0, busy_cpus=1.2)
    assert str(need) == "the last 5 runs used at most 3.4 GiB, 1.2 cpus"


def test_one_run_is_told_without_at_most() -> None:
    assert str(need_of([run(310.0, busy=0.0)])) == "the last run used 310 MiB"


@pytest.mark.parametrize(
    "silent",
    [
        run(state=State.RUNNING),
        run(0.0),
        run(state=State.CANCELED, reason=Reason.STOPPED),
        run(state=State.FAILED, reason=Reason.LAUNCH),
    ],
)
def test_a_run_that_did_not_come_to_its_end_tells_nothing(silent: Job) -> None:
    assert need_of([silent]) is None
    assert need_of([silent, run(7.0)]) == need_of([run(7.0)])


def test_a_short_run_tells_nothing_of_cpus() -> None:
    need = need_of([run(100.0, busy=8.0, seconds=0.5)])

    assert need is not None
    assert need.busy_cpus == 0.0


def test_only_runs_of_the_same_script_of_the_same_project_are_the_same() -> None:
    mine = [run(1.0, script="sub/fit.R"), run(2.0)]

    found = same_script([*mine, run(script="other.R"), run(project="/q"), run(script="")], "./fit.R", "/p")

    assert found == mine


def test_memory_and_cpus_are_asked_for_with_a_margin() -> None:
    need = Need(run_count=2, peak_memory_mib=300.0, busy_cpus=2.4)

    asked = sized(Resources(wall_time_s=60, gpu_count=1), ("cpus", "memory"), need, 16.0, 64_000)

    assert asked == Resources(cpu_count=3.0, memory_mib=448, wall_time_s=60, gpu_count=1)
    assert sized(Resources(cpu_count=8.0), ("memory",), need, 16.0, 64_000).cpu_count == 8.0


def test_after_out_of_memory_more_is_asked_for_until_it_is_enough() -> None:
    killed = run(1000.0, state=State.FAILED, reason=Reason.OUT_OF_MEMORY, asked_mib=1024)

    need = need_of([killed, run(900.0, asked_mib=1024 - 64)])
    assert need is not None
    assert str(need).endswith("; 1 GiB was not enough")
    assert sized(Resources(), ("memory",), need, None, None).memory_mib == 1536

    enough = need_of([run(1300.0, asked_mib=1536), killed])
    assert enough is not None
    assert enough.short_of_mib == 0


@given(
    peak=st.floats(0.1, 1e6),
    busy=st.floats(0, 500),
    short=st.integers(0, 10**6),
    cpus=st.floats(0.5, 256),
    memory=st.integers(64, 10**6),
)
def test_never_more_is_asked_for_than_there_is(
    peak: float, busy: float, short: int, cpus: float, memory: int
) -> None:
    need = Need(run_count=1, peak_memory_mib=peak, busy_cpus=busy, short_of_mib=short)

    asked = sized(Resources(), ("cpus", "memory"), need, cpus, memory)

    assert asked.cpu_count is not None
    assert 0 < asked.cpu_count <= cpus
    assert asked.memory_mib is not None
    assert 0 < asked.memory_mib <= memory
    assert asked.memory_mib >= min(peak, memory)
