"""Functions called in real jobs of a real server, in real processes."""

import asyncio
import concurrent.futures
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from shorepower import (
    AsyncClient,
    CannotSend,
    Client,
    Executor,
    InvalidRequest,
    NotFound,
    NoValue,
    RemoteError,
    State,
    WrongPython,
    remote,
)
from support.calling import BARE
from support.place import Place, a_place

pytestmark = pytest.mark.flow
CPUS = len(os.sched_getaffinity(0))
LIMIT_S = 60.0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_place(tmp_path_factory.mktemp("home")) as made:
        yield made


@pytest.fixture(scope="module")
def client(place: Place) -> Iterator[Client]:
    with Client(environ=place.env) as made:
        yield made


class Model:
    def __init__(self, depth: int) -> None:
        self.depth = depth


class Refused(Exception):
    pass


def fit(depth, *, name="", self="", function=""):
    return Model(depth), name, self, function


def refuse(why):
    raise Refused(why)


def wait_for(file: str):
    import time

    while not os.path.exists(file):
        time.sleep(0.01)
    return file


def named(client: Client, name: str) -> list[str]:
    return [job.id for job in client.jobs().jobs if job.name == name]


# calls


def test_a_call_gives_the_value_and_swallows_no_argument(client: Client) -> None:
    model, *rest = client.call(fit, 3, name="n", self="s", function="f")

    assert (type(model), model.depth, rest) == (Model, 3, ["n", "s", "f"])


def test_the_job_s_python_needs_nothing_of_ours(client: Client) -> None:
    def look():
        import importlib.util

        return sys.prefix, importlib.util.find_spec("shorepower")

    prefix, found = client.with_options(python=BARE).call(look)

    assert prefix == sys.base_prefix
    assert found is None


def test_a_remote_exception_is_raised_here(client: Client) -> None:
    job = client.spawn(refuse, "no")

    with pytest.raises(Refused, match="no") as raised:
        job.result()
    assert isinstance(raised.value.__cause__, RemoteError)
    assert "in refuse" in str(raised.value.__cause__)
    assert isinstance(job.exception(), Refused)
    assert job.wait(check=False).state is State.FAILED


@pytest.mark.parametrize("size", [1000, 100 << 20])
def test_bytes_go_there_and_back(client: Client, size: int) -> None:
    data = os.urandom(1000) * (size // 1000)

    assert client.call(lambda sent: sent, data) == data


def test_numpy_arrays_travel_beside_the_pickle(client: Client) -> None:
    numpy = pytest.importorskip("numpy")
    data = numpy.arange(1_000_000.0)

    back = client.call(lambda sent: sent * 2, data)

    assert (back == data * 2).all()
    assert back.flags.writeable


def test_what_cannot_be_sent_is_not_submitted(client: Client) -> None:
    before = len(client.jobs().jobs)

    with pytest.raises(CannotSend, match="argument 1 of fit, a generator"):
        client.call(fit, (n for n in ()))
    with pytest.raises(TypeError, match="not a str"):
        client.call("fit")
    assert len(client.jobs().jobs) == before


def test_a_value_that_cannot_be_sent_back_is_named(client: Client) -> None:
    with pytest.raises(RemoteError, match=r"the value, a builtins\.generator, cannot be sent back"):
        client.call(lambda: (n for n in ()))


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda: sys.exit(0), r"sys\.exit\(0\)"),
        (lambda: sys.exit(3), r"sys\.exit\(3\)"),
        (lambda: os._exit(4), "exit code 4"),
        (lambda: os.kill(os.getpid(), 9), "SIGKILL|signal 9"),
    ],
)
def test_a_process_that_ends_itself_is_told(client: Client, function, told: str) -> None:
    with pytest.raises((RemoteError, NoValue), match=told):
        client.call(function)


def test_a_stopped_call_has_no_value(client: Client, tmp_path: Path) -> None:
    job = client.spawn(wait_for, str(tmp_path / "never"))
    with pytest.raises(TimeoutError):
        job.result(0.01)
    job.stop()

    with pytest.raises(NoValue, match="stopped"):
        job.result(LIMIT_S)


def test_output_and_warnings_are_shown_on_request(client: Client) -> None:
    def talk():
        print("said")
        warnings.warn("careful", RuntimeWarning, stacklevel=1)
        return 1

    job = client.spawn(talk)

    assert job.result() == 1
    assert [(one.category, one.message) for one in job.warnings()] == [("RuntimeWarning", "careful")]
    assert job.logs(follow=True).startswith("said\n")


def test_resources_reach_the_job(client: Client) -> None:
    calls = client.with_options(cpus=1, memory="100M", name="mine", env={"MODE": "fast"}, tags={"k": "v"})

    job = calls.spawn(lambda: (os.environ["SHOREPOWER_MEMORY_MIB"], os.environ["MODE"]))

    assert job.result() == ("100", "fast")
    assert (job.job.name, job.job.tags, job.job.resources.cpu_count) == ("mine", {"k": "v"}, 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cups": 2}, "did you mean"),
        ({"in_place": True}, "in_place is not for calls"),
        ({"python": "python-of-nobody"}, "no such program"),
        ({"on": "nowhere"}, "nowhere"),
    ],
)
def test_options_that_make_no_sense_are_told(client: Client, options: dict, told: str) -> None:
    with pytest.raises(InvalidRequest, match=told):
        client.with_options(**options).call(fit, 1)


def test_another_python_is_refused_before_anything_is_queued(client: Client, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 2.7\n")
    other.chmod(0o755)
    before = len(client.jobs().jobs)

    with pytest.raises(WrongPython) as raised:
        client.with_options(python=str(other)).call(fit, 1)
    for part in ("Python 2.7", str(other), "{}.{}".format(*sys.version_info[:2]), sys.executable):
        assert part in str(raised.value)
    assert len(client.jobs().jobs) == before


def test_a_script_s_own_classes_come_back(place: Place) -> None:
    place.write(
        "own.py",
        "import shorepower\n"
        "from helper import triple\n"
        "class Point:\n"
        "    def __init__(self, x): self.x = x\n"
        "def move(point, by): return Point(triple(point.x) + by)\n"
        "if __name__ == '__main__':\n"
        "    with shorepower.Client() as client:\n"
        "        made = client.call(move, Point(1), by=2)\n"
        "        assert type(made) is Point\n"
        "        print(made.x)\n",
    )
    place.write("helper.py", "def triple(x): return 3 * x\n")

    done = subprocess.run(
        [sys.executable, "own.py"],
        cwd=place.project,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )

    assert (done.stdout, done.stderr) == ("5\n", "")


def test_a_call_is_found_again_by_another_process(place: Place, client: Client) -> None:
    place.write(
        "start.py",
        "import shorepower\n"
        "with shorepower.Client() as client:\n"
        "    print(client.spawn(lambda: {'left': 'behind'}).id)\n",
    )
    told = subprocess.run(
        [sys.executable, "start.py"],
        cwd=place.project,
        env=place.env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    job = told.stdout.strip()

    assert client.handle(job).result() == {"left": "behind"}
    assert client.future(job).result(LIMIT_S) == {"left": "behind"}
    with pytest.raises(NotFound):
        client.future("zzzzzz")


def test_a_job_that_is_no_call_has_no_value(client: Client) -> None:
    job = client.submit("true", command=True)

    with pytest.raises(NoValue, match="no function was called"):
        job.result(LIMIT_S)


def test_decorated_functions(client: Client) -> None:
    @remote(client=client, cpus=1)
    def area(width, height=2):
        return width * height

    assert area(3) == 6
    assert area.call(3, height=5) == 15
    assert area.remote(4).result() == 8
    assert list(area.map([1, 2])) == [2, 4]


def test_a_call_outlives_its_server(place: Place, client: Client, tmp_path: Path) -> None:
    file = tmp_path / "go"
    job = client.spawn(wait_for, str(file))
    place.kill()
    file.touch()

    assert job.result(LIMIT_S) == str(file)


def test_asynchronous_twins(place: Place) -> None:
    async def work():
        async with AsyncClient(environ=place.env) as client:
            values = await asyncio.gather(*(client.call(pow, 2, n) for n in range(3)))
            with pytest.raises(Refused):
                await client.call(refuse, "no")
            handle = await client.with_options(cpus=1).spawn(fit, 1)
            model, *_ = await client.result(handle.id)
            return values, model.depth, [value async for value in client.map(abs, [-1, -2])]

    assert asyncio.run(work()) == ([1, 2, 4], 1, [1, 2])


# the executor


def test_an_executor_is_one_of_concurrent_futures(place: Place, client: Client, tmp_path: Path) -> None:
    called = []
    with Executor(client) as executor:
        futures = [executor.submit(pow, 2, n) for n in range(4)]
        futures[0].add_done_callback(called.append)
        done = {future.result() for future in concurrent.futures.as_completed(futures, LIMIT_S)}
        failed = executor.submit(refuse, "no")

        assert done == {1, 2, 4, 8}
        assert isinstance(failed.exception(LIMIT_S), Refused)
        assert executor.attach(futures[3].job_id).result(LIMIT_S) == 8
        waiting = [executor.submit(wait_for, str(tmp_path / "go")) for _ in range(2)]
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("shorepower-news") == 1  # while something is waited for
        (tmp_path / "go").touch()
        assert len(concurrent.futures.wait(waiting, LIMIT_S).done) == 2
    assert called == [futures[0]]
    with pytest.raises(RuntimeError):
        executor.submit(pow, 2, 2)


def test_cancelling_an_asynchronous_call_stops_its_job(
    place: Place, client: Client, tmp_path: Path
) -> None:
    async def work():
        async with AsyncClient(environ=place.env) as many:
            calling = asyncio.create_task(
                many.with_options(name="cancelled").call(wait_for, str(tmp_path / "never"))
            )
            while not named(client, "cancelled"):  # noqa: ASYNC110 - a server of its own tells of it
                await asyncio.sleep(0.01)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling

    asyncio.run(asyncio.wait_for(work(), LIMIT_S))

    (job,) = named(client, "cancelled")
    assert client.wait(job).state is State.CANCELED


def test_futures_are_cancelled_while_they_wait(client: Client, tmp_path: Path) -> None:
    with Executor(client, cpus=CPUS) as executor:
        running = executor.submit(wait_for, str(tmp_path / "go"))
        deadline = time.monotonic() + LIMIT_S
        while not running.running():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        waiting = executor.submit(pow, 2, 2)

        assert waiting.cancel()
        assert not running.cancel()
        done, _ = concurrent.futures.wait([waiting], LIMIT_S)
        assert done == {waiting}
        (tmp_path / "go").touch()
        assert running.result(LIMIT_S)
    assert client.wait(waiting.job_id).state is State.CANCELED


def test_futures_outlive_the_server(place: Place, client: Client, tmp_path: Path) -> None:
    with Executor(client) as executor:
        future = executor.submit(wait_for, str(tmp_path / "go"))
        place.kill()
        (tmp_path / "go").touch()

        assert future.result(LIMIT_S) == str(tmp_path / "go")


def test_shutdown_leaves_or_cancels(client: Client, tmp_path: Path) -> None:
    executor = Executor(client, cpus=CPUS)
    running = executor.submit(wait_for, str(tmp_path / "go"))
    waiting = executor.submit(pow, 2, 2)
    executor.shutdown(wait=False, cancel_futures=True)
    (tmp_path / "go").touch()

    assert waiting.cancelled() or waiting.result(LIMIT_S) == 4
    assert running.cancelled() or running.result(LIMIT_S) == str(tmp_path / "go")


# maps


def test_an_executor_s_map_is_in_order(client: Client) -> None:
    with Executor(client) as executor:
        assert list(executor.map(pow, [2, 3, 4], [1, 2, 3], timeout=LIMIT_S)) == [2, 9, 64]
        assert list(executor.map(pow, [], [])) == []


def fragile(value):
    if value % 4 == 3:
        raise Refused(value)
    return value


def test_only_failures_of_a_map_run_again(client: Client, tmp_path: Path) -> None:
    flag = str(tmp_path / "mended")

    def mended(value, flag):
        if value % 4 == 3 and not os.path.exists(flag):
            raise Refused(value)
        return -value

    job = client.map(mended, range(10), [flag] * 10, chunksize=3)
    failed = job.failed(LIMIT_S)

    assert sorted(failed) == [3, 7]
    assert isinstance(failed[3], Refused)
    assert sorted(job.values()) == [0, 1, 2, 4, 5, 6, 8, 9]
    Path(flag).touch()
    again = job.rerun_failed()
    assert dict(zip(again.items, again, strict=True)) == {3: -3, 7: -7}
    found = client.map_job(again.id)
    assert (list(found.items), list(found)) == ([3, 7], [-3, -7])


def test_a_map_is_read_by_another_process_as_it_comes(client: Client) -> None:
    job = client.map(fragile, range(8), chunksize=2)

    found = client.map_job(job.id)
    told = dict(found.as_completed(LIMIT_S))

    assert [told[item].error is None for item in range(8)] == [True, True, True, False] * 2
    assert client.job(job.id).task_count == 4
    with pytest.raises(Refused):
        list(found)
    with pytest.raises(InvalidRequest, match="is a map"):
        client.handle(job.id).result()
    with pytest.raises(InvalidRequest, match="no map"):
        client.map_job(client.spawn(fit, 1).id)


def test_a_map_whose_client_dies_is_collected_by_another(place: Place, client: Client) -> None:
    place.write(
        "many.py",
        "import shorepower, time\n"
        "def work(n):\n"
        "    if n in (17, 256, 3001): raise ValueError(n)\n"
        "    return n * n\n"
        "client = shorepower.Client()\n"
        "job = client.map(work, range(10_000))\n"
        "print(job.id, flush=True)\n"
        "next(iter(job))\n"
        "time.sleep(600)\n",
    )
    dying = subprocess.Popen(
        [sys.executable, "many.py"], cwd=place.project, env=place.env, stdout=subprocess.PIPE
    )
    assert dying.stdout is not None
    job = dying.stdout.readline().decode().strip()
    dying.kill()
    dying.wait()

    found = client.map_job(job)
    failed = found.failed(LIMIT_S)

    assert {item: str(error) for item, error in failed.items()} == {n: str(n) for n in (17, 256, 3001)}
    values = found.values()
    assert len(values) == 9_997
    assert all(values[n] == n * n for n in values)


def test_a_lost_task_is_told_item_by_item(client: Client, tmp_path: Path) -> None:
    job = client.map(wait_for, [str(tmp_path / str(n)) for n in range(4)], chunksize=2)
    for n in (0, 2, 3):
        (tmp_path / str(n)).touch()
    results = iter(job)
    assert next(results) == str(tmp_path / "0")
    job.stop()

    failed = job.failed(LIMIT_S)

    assert 1 in failed
    assert isinstance(failed[1], NoValue)
    assert "item 1 was not finished" in str(failed[1])
