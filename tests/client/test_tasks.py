"""Tasks by name, and what is asked of the server about them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from shorepower.client import tasks
from shorepower.client.client import Client
from shorepower.model.array import ArraySpec, Range
from shorepower.model.errors import InvalidRequest, NotFound
from shorepower.model.job import JobSpec
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.task import Task
from support.front_thread import FrontThread, front_thread

ARRAY = JobSpec(name="fit", argv=("true",), array=ArraySpec(ranges=(Range(1, 9, 2),)))


@pytest.fixture
def front(tmp_path: Path) -> Iterator[FrontThread]:
    with front_thread(tmp_path / "run" / "s.sock") as running:
        yield running


@pytest.fixture
def client(front: FrontThread, tmp_path: Path) -> Iterator[Client]:
    with Client(front.url, environ={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}) as made:
        yield made


@pytest.fixture
def job(front: FrontThread) -> str:
    return front.do(front.dispatcher.add, "ada", spec=ARRAY, array=True, task_count=5).id


def test_a_task_is_named_after_its_job(client: Client, job: str) -> None:
    for name in (job, job[:6], "@fit", "@-1"):
        assert client.named(name)[1] is None
        found, indices = client.named(f"{name}_3-5,9")
        assert (found.id, indices) == (job, "3-5,9")


def test_a_job_may_be_called_like_a_task(client: Client, front: FrontThread, job: str) -> None:
    other = front.do(front.dispatcher.add, "ada", name="fit_7").id

    assert client.named("@fit_7")[0].id == other
    assert client.named("@fit_8")[0].id == job


@pytest.mark.parametrize("name", ["fit_7", "nosuch_7", "@nosuch_7", "nosuch_", "_7"])
def test_what_names_nothing(client: Client, job: str, name: str) -> None:
    with pytest.raises(NotFound):
        client.named(name)


def test_tasks_of_what_is_no_array(client: Client, front: FrontThread, job: str) -> None:
    plain = front.do(front.dispatcher.add, "ada", name="plain").id

    with pytest.raises(InvalidRequest, match="is one task, not an array"):
        client.named(f"{plain}_0")
    with pytest.raises(InvalidRequest, match="first index is above the last"):
        client.named(f"{job}_5-3")


def test_only_tasks_that_there_are(client: Client, job: str) -> None:
    found = client.job(job)

    assert tasks.chosen(client, found, "0-5") == [1, 3, 5]
    with pytest.raises(NotFound, match="its tasks are 1-9:2"):
        tasks.chosen(client, found, "2,4")
    with pytest.raises(NotFound, match=r"no task 2,99 in .*; its tasks are 1-9:2"):
        tasks.chosen(client, found, "1,2,99")


def test_a_page_is_asked_for_as_it_is_wanted(client: Client, front: FrontThread, job: str) -> None:
    found = list(islice(client.tasks(job, states=["FAILED"], indices="3-7", sort="-auc"), 2))

    asked = front.dispatcher.wanted_tasks
    assert found == [Task(index=7, state=State.FAILED, parameters={"lr": "0.1"})] * 2
    assert asked is not None
    assert (asked.states, asked.tasks, asked.sort) == ((State.FAILED,), "3-7", "-auc")
    assert (asked.cursor, asked.limit) == ("further", tasks.PAGE)


def test_no_more_tasks_are_fetched_than_wanted(client: Client, front: FrontThread, job: str) -> None:
    assert len(list(client.tasks(job, most=3))) == 3
    assert front.dispatcher.wanted_tasks is not None
    assert front.dispatcher.wanted_tasks.limit == 1


def test_some_tasks_are_stopped(client: Client, front: FrontThread, job: str) -> None:
    client.control(job, Operation.STOP, indices="3-5")
    client.control(job, Operation.KILL)

    assert front.dispatcher.ended_tasks == ["3-5", None]
    with pytest.raises(InvalidRequest, match="suspend is for whole jobs"):
        client.control(job, Operation.SUSPEND, indices="3")


@pytest.mark.parametrize(
    ("task", "status"),
    [
        (Task(index=0, state=State.COMPLETED, exit_code=0), 0),
        (Task(index=0, state=State.FAILED, reason=Reason.EXIT_CODE, exit_code=4), 4),
        (Task(index=0, state=State.FAILED, reason=Reason.SIGNAL, signal=9), 137),
        (Task(index=0, state=State.CANCELED, reason=Reason.STOPPED), 143),
    ],
)
def test_what_waiting_for_one_task_exits_with(task: Task, status: int) -> None:
    assert tasks.status_of(task) == status
