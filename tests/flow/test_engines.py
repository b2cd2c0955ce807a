"""joblib and Dask over real jobs of a real server."""

import os
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from shorepower import Client, Executor, JobQuery, State
from support.place import Place, a_place

joblib = pytest.importorskip("joblib")
# distributed is not imported here: that changes how exceptions are pickled, also in the tests of others.
pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not find_spec("distributed"), reason="distributed is not installed"),
]
CPUS = len(os.sched_getaffinity(0))
LIMIT_S = 60.0
BIOPSY = Path("examples/biopsy-python/.venv/bin/python").absolute()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_place(tmp_path_factory.mktemp("home")) as made:
        made.write("lengths.py", "def length(text):\n    return len(text)\n")
        yield made


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    with Client(environ=place.env) as made:
        yield made


@pytest.fixture
def in_project(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.project)
    monkeypatch.syspath_prepend(str(place.project))


def square(number):
    return number * number, os.getpid()


def inner_sum(count):
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    name = type(get_active_backend()[0]).__name__
    return sum(Parallel(n_jobs=2)(delayed(abs)(number) for number in range(count))), name


def refuse_or_wait(number):
    if number == 0:
        raise KeyError("no")
    import time

    time.sleep(600)


@pytest.fixture
def backend(client: Client):
    from shorepower.joblib import register

    register()
    with joblib.parallel_config(backend="shorepower", n_jobs=-1, client=client):
        yield


# joblib


def test_minus_one_is_all_cpus_of_the_cluster(backend, client: Client) -> None:
    assert joblib.effective_n_jobs(-1) == CPUS
    assert joblib.effective_n_jobs(3) == 3
    with joblib.parallel_config(backend="shorepower", client=client, cpus=0.5):
        assert joblib.effective_n_jobs(-1) == 2 * CPUS


def test_values_come_in_order_from_other_processes(backend) -> None:
    back = joblib.Parallel()(joblib.delayed(square)(number) for number in range(10))

    assert [value for value, _ in back] == [number * number for number in range(10)]
    assert os.getpid() not in {pid for _, pid in back}


def test_small_tasks_share_jobs(backend, client: Client) -> None:
    before = len(client.jobs(JobQuery(limit=500)).jobs)

    back = joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(number) for number in range(60))

    assert back == list(range(60))
    assert 1 <= len(client.jobs(JobQuery(limit=500)).jobs) - before <= 30


def test_what_runs_inside_does_not_start_jobs(backend) -> None:
    ((total, name),) = joblib.Parallel(n_jobs=2)([joblib.delayed(inner_sum)(5)])

    assert (total, name) == (10, "ThreadingBackend")


def test_an_error_is_raised_here_and_ends_the_other_jobs(backend, client: Client) -> None:
    with pytest.raises(KeyError, match="no"):
        joblib.Parallel(n_jobs=2)(joblib.delayed(refuse_or_wait)(number) for number in range(2))

    wait_until_nothing_runs(client)


def test_what_cannot_be_sent_is_told(backend) -> None:
    import threading

    with pytest.raises(TypeError, match="cannot be sent"):
        joblib.Parallel(n_jobs=2)([joblib.delayed(abs)(threading.Lock())])


SEARCH = """
import joblib, sys
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
from shorepower.joblib import register

register()
X, y = load_breast_cancer(return_X_y=True)
tree, grid = DecisionTreeClassifier(random_state=0), {"max_depth": [1, 3]}
search = lambda: GridSearchCV(tree, grid, cv=2, n_jobs=-1)
with joblib.parallel_config(backend="shorepower", cpus=1):
    there = search().fit(X, y)
with joblib.parallel_config(backend="sequential"):
    here = search().fit(X, y)
assert there.best_params_ == here.best_params_
assert (there.cv_results_["mean_test_score"] == here.cv_results_["mean_test_score"]).all()
print("same")
"""


@pytest.mark.skipif(not BIOPSY.exists(), reason="scikit-learn is installed for the example: make demo")
def test_a_grid_search_of_scikit_learn(place: Place) -> None:
    ours = [str(Path("src").absolute()), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    done = subprocess.run(
        [BIOPSY, "-c", SEARCH],
        env={**place.env, "PYTHONPATH": os.pathsep.join(ours)},
        cwd=place.project,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("same\n", 0), done.stderr


# Dask


def test_dask_runs_in_jobs_that_end_with_its_client(client: Client, in_project: None) -> None:
    import lengths

    with Executor(client, cpus=CPUS / 2).dask(workers=2) as dask:
        dask.wait_for_workers(2, timeout=LIMIT_S)
        pids = set(dask.run(os.getpid).values())
        assert dask.gather(dask.map(lengths.length, ["a", "bc"])) == [1, 2]
        assert sum(dask.gather(dask.map(lambda number: number + 1, range(10)))) == 55
        address = dask.scheduler_info()["address"]
        scheduler, workers = dask.jobs
        assert {task.state for task in workers.tasks()} == {State.RUNNING}

    assert address.startswith("tls://127.0.0.1:")
    assert len(pids) == 2
    assert os.getpid() not in pids
    for job in (scheduler, workers):
        assert client.wait(job.id, timeout_s=LIMIT_S).state is State.CANCELED
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_nobody_connects_to_dask_without_its_key(client: Client, in_project: None) -> None:
    with Executor(client, cpus=CPUS / 2).dask(workers=1) as dask:
        address = dask.scheduler_info()["address"]
        import distributed

        other = distributed.Security.temporary()
        with pytest.raises(OSError, match="TLS certificate does not match"):
            distributed.Client(address, security=other, timeout=2)
        assert listening_elsewhere(address) == []


def test_workers_end_when_the_scheduler_goes(client: Client, in_project: None) -> None:
    dask = Executor(client, cpus=CPUS / 2).dask(workers=1)
    try:
        dask.wait_for_workers(1, timeout=LIMIT_S)
        scheduler, workers = dask.jobs
        scheduler.kill()
        assert client.wait(workers.id, timeout_s=LIMIT_S).state.ended
    finally:
        dask.close(timeout=1)  # nobody answers any more, and that is no error


def test_a_scheduler_that_cannot_start_is_told_with_its_reason(client: Client, in_project: None) -> None:
    from shorepower.client.engines.dask import DaskLost
    from support.calling import BARE

    with pytest.raises(DaskLost, match=r"No module named 'dask'|distributed"):
        Executor(client, python=BARE).dask(workers=1)
    wait_until_nothing_runs(client)


def wait_until_nothing_runs(client: Client) -> None:
    deadline = time.monotonic() + LIMIT_S
    while [job for job in client.jobs(JobQuery(limit=500)).jobs if not job.state.ended]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def listening_elsewhere(address: str) -> list[str]:
    """Places where the port of the scheduler is open besides 127.0.0.1."""
    port = f"{int(address.rpartition(':')[2]):04X}"
    told = [Path(f"/proc/net/{file}").read_text() for file in ("tcp", "tcp6")]
    lines = [line.split() for text in told for line in text.splitlines()]
    open_at = [words[1] for words in lines if words[3] == "0A" and words[1].endswith(f":{port}")]
    assert open_at
    return [place for place in open_at if not place.startswith("0100007F:")]
