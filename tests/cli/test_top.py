"""What runs and what it takes, in rows."""

from datetime import UTC, datetime, timedelta

import pytest

from shorepower.cli.render.top import busy_cpus, top_lines
from shorepower.clusters.contract import Live
from shorepower.dispatch.live import with_live
from shorepower.model.cluster import ClusterInfo
from shorepower.model.job import Job
from shorepower.model.lifecycle import State
from shorepower.model.resources import Resources
from shorepower.model.usage import Usage

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
INFO = ClusterInfo(
    name="local", type="local", cpu_count=8.0, cpus_free=2.5, memory_mib=16384, memory_free_mib=4096
)


def job(cpu_time_s: float | None = 90.0, **more) -> Job:
    usage = None if cpu_time_s is None else Usage(wall_time_s=60, cpu_time_s=cpu_time_s, memory_mib=2048)
    told = {"name": "fit.R", "resources": Resources(cpu_count=2, memory_mib=8192, wall_time_s=7200)} | more
    return Job(
        id="k3fqabcdefgh",
        owner="ada",
        cluster="local",
        state=State.RUNNING,
        created_at=NOW,
        started_at=NOW - timedelta(minutes=1),
        usage=usage,
        **told,
    )


@pytest.mark.parametrize(
    ("now", "before", "passed_s", "busy"),
    [
        (job(None), None, 0.0, None),
        (job(90.0), None, 0.0, 1.5),
        (job(90.0), job(86.0), 2.0, 2.0),
        (job(86.0), job(90.0), 2.0, 0.0),
        (job(90.0), job(None), 2.0, 1.5),
    ],
)
def test_cpus_are_those_since_the_last_look(now, before, passed_s, busy) -> None:
    assert busy_cpus(now, before, passed_s) == busy


def test_rows_tell_what_is_used_of_what_was_asked_for() -> None:
    asking_nothing = job(name="bad\x1b[31mname", resources=Resources())

    lines = top_lines([INFO], [job(), asking_nothing], {"k3fqabcdefgh": 1.5}, NOW).splitlines()

    assert lines[0] == "local: 2.5 of 8 cpus free, 4 GiB of 16 GiB of memory not asked for"
    assert "1.5 of 2  2 GiB of 8 GiB  1 min 00 s of 2 h 00 min" in lines[2]
    assert "\x1b" not in lines[3]
    assert " of " not in lines[3]


def test_nothing_runs() -> None:
    assert top_lines([INFO], [], {}, NOW).splitlines()[1:] == ["nothing runs"]


def test_tasks_that_run_add_to_those_that_have_ended() -> None:
    array = job(10.0, array=True, task_count=9)
    used = Usage(wall_time_s=5, cpu_time_s=4, memory_mib=100, peak_memory_mib=300, process_count=2)
    each = Live(usage=used)
    name = f"{array.id}-1"

    told = with_live(array, {f"{name}.3": each, f"{name}.7": each, f"{name}0.1": each})

    assert told.usage == Usage(
        wall_time_s=70, cpu_time_s=18, memory_mib=200, peak_memory_mib=300, process_count=4
    )
    assert with_live(array, {}) == array
