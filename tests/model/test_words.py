"""Resources, task sets, cursors, ids and checks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.check import check
from shorepower.model.cluster import ClusterInfo, Queue
from shorepower.model.job import JobSpec, Link, is_job_id, job_id_from, split_submission_id, submission_id
from shorepower.model.output import Cursor
from shorepower.model.resources import (
    Resources,
    counted,
    format_duration,
    format_memory,
    parse_cpus,
    parse_duration,
    parse_gpus,
    parse_memory,
)
from shorepower.model.tasks import TaskSet


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 GPU"),
        (0, "0 GPUs"),
        (2, "2 GPUs"),
        (1.0, "1 GPU"),
        (0.5, "0.5 GPUs"),
        (12_000, "12,000 GPUs"),
    ],
)
def test_one_of_a_thing_is_told_as_one(count: float, text: str) -> None:
    assert counted(count, "GPU") == text


def test_what_was_asked_is_told_in_one_or_many() -> None:
    spec = JobSpec(name="x", argv=("true",), resources=Resources(cpu_count=1.0, gpu_count=1))
    (info,) = (ClusterInfo(name="local", type="local", cpu_count=0.5),)

    told = [fault.message for fault in check(spec, {"local": info})]

    assert told == ["asked 1 cpu; cluster 'local' has 0.5", "asked 1 GPU; cluster 'local' has 0"]


@pytest.mark.parametrize(
    ("text", "mebibytes"),
    [("8G", 8192), ("512", 512), ("512M", 512), ("1.5T", 1572864), ("2gib", 2048), ("2048K", 2)],
)
def test_memory(text, mebibytes):
    assert parse_memory(text) == mebibytes


@pytest.mark.parametrize("text", ["", "G", "-1G", "8X", "block", "0", "1e9G", "8 G G", "nan"])
def test_nonsense_memory_is_refused_in_words(text):
    with pytest.raises(ValueError, match="memory"):
        parse_memory(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("1:30", 90),
        ("1:00:00", 3600),
        ("90s", 90),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1-12", 129600),
        ("1-12:00:00", 129600),
        ("0.5h", 1800),
        ("2d", 172800),
    ],
)
def test_duration(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-5", "1:2:3:4", "5y", "h", "1h30", "99999d"])
def test_nonsense_duration_is_refused_in_words(text):
    with pytest.raises(ValueError, match="time"):
        parse_duration(text)


@given(st.text(max_size=12))
def test_parsers_answer_or_say_no(text):
    for parse in (parse_memory, parse_duration, parse_cpus, parse_gpus):
        try:
            parse(text)
        except ValueError as error:
            assert repr(text) in str(error) or text.strip() in str(error)


def test_gpus():
    assert parse_gpus("2") == (2, None)
    assert parse_gpus("a100:4") == (4, "a100")


def test_people_read_amounts():
    assert format_memory(4096) == "4 GiB"
    assert format_memory(2867) == "2.8 GiB"
    assert format_duration(182) == "3 min 02 s"
    assert format_duration(0.42) == "0.4 s"


@given(st.sets(st.integers(0, 300)))
def test_a_task_set_holds_what_it_was_given(positions):
    tasks = TaskSet.of(positions)
    assert list(tasks) == sorted(positions)
    assert len(tasks) == len(positions)
    assert all(position in tasks for position in positions)
    assert 301 not in tasks


def test_a_million_tasks_are_one_span():
    assert len(TaskSet.first(1_000_000)) == 1_000_000
    assert len(TaskSet.first(1_000_000).spans) == 1


@given(st.binary(min_size=12, max_size=32))
def test_job_ids_have_their_shape(random):
    job = job_id_from(random)
    assert is_job_id(job)
    assert split_submission_id(submission_id(job, 7)) == (job, 7)


@pytest.mark.parametrize(
    "text", ["", "abc", "2bcdefghijkl", "abcdefghijk1", "ABCDEFGHIJKL", "abcdefghijkl\n"]
)
def test_what_is_no_job_id(text):
    assert not is_job_id(text)


@given(st.integers(0, 2**60), st.integers(0, 2**60), st.integers(0, 999_999))
def test_cursors_come_back_and_stay_short(stdout, stderr, task):
    cursor = Cursor(submission="abcdefghijkl-999999", task=task, attempt=3, stdout=stdout, stderr=stderr)
    assert Cursor.decode(cursor.encode()) == cursor
    assert len(cursor.encode()) <= 200


@given(st.text())
def test_foreign_cursors_are_refused(text):
    try:
        Cursor.decode(text)
    except ValueError as error:
        assert "cursor" in str(error)


HERE = ClusterInfo(name="local", type="local", cpu_count=2, memory_mib=4096)
HPC = ClusterInfo(
    name="hpc", type="slurm", queues=(Queue(name="cpu", max_wall_time_s=3600), Queue(name="gpu"))
)


def spec(**more) -> JobSpec:
    return JobSpec(**{"name": "x", "argv": ("true",), **more})


def faults(given: JobSpec) -> dict[str, str]:
    return {fault.field: fault.message for fault in check(given, {"local": HERE, "hpc": HPC})}


def test_a_plain_job_has_no_fault():
    assert faults(spec()) == {}


def test_every_fault_is_named_at_once():
    wrong = faults(
        spec(
            name="",
            argv=(),
            workdir="../..",
            cluster="lokal",
            env={"A=B": "x"},
            umask=0o7777,
        )
    )
    assert set(wrong) == {"name", "argv", "workdir", "cluster", "env.A=B", "umask"}
    assert "did you mean 'local'?" in wrong["cluster"]


@pytest.mark.parametrize(
    ("path", "target"),
    [("../x", "/data"), ("/x", "/data"), ("", "/data"), (".", "/data"), ("a/../..", "/d"), ("x", "data"),
     ("x\0", "/data"), ("x", "/da\0ta")],
)  # fmt: skip
def test_a_link_lies_in_the_project_and_leads_to_an_absolute_place(path, target):
    assert set(faults(spec(links=(Link(path=path, target=target),)))) == {"links"}
    assert faults(spec(links=(Link(path="a/b", target="/data"),))) == {}


def test_facts_are_not_for_a_job_to_choose():
    assert set(faults(spec(env={"SHOREPOWER_JOB_ID": "x", "SHOREPOWERED": "1"}))) == {
        "env.SHOREPOWER_JOB_ID"
    }


def test_more_than_the_machine_has_is_told_with_what_it_has():
    wrong = faults(spec(resources=Resources(cpu_count=64, memory_mib=1 << 20, gpu_count=1)))
    assert "has 2" in wrong["resources.cpu_count"]
    assert "4 GiB" in wrong["resources.memory_mib"]
    assert "has 0" in wrong["resources.gpu_count"]


def test_queues_and_their_limits():
    assert "choose one of: cpu, gpu" in faults(spec(cluster="hpc", queue="gup"))["queue"]
    assert (
        "allows 1 h"
        in faults(spec(cluster="hpc", queue="cpu", resources=Resources(wall_time_s=7200)))[
            "resources.wall_time_s"
        ]
    )
    assert "has no queues" in faults(spec(queue="cpu"))["queue"]


def test_a_long_name_is_refused():
    assert "255" in faults(spec(name="x" * 256))["name"]
