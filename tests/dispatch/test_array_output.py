"""The output of an array: task by task in order, or of one; every byte once, silent tasks passed over."""

import anyio
import pytest

from shorepower.dispatch import read_array
from shorepower.model.chunks import CHUNK
from shorepower.model.errors import InvalidRequest
from shorepower.model.lifecycle import Reason, State
from shorepower.model.output import Cursor, Stream
from shorepower.model.tasks import TaskSet
from support.arrays import an_array
from support.dispatching import ALICE, NOW, a_spec

pytestmark = pytest.mark.anyio
LONG_S = 60.0


class Array:
    """An array of which a test plays the tasks."""

    def __init__(self, bench, cluster, dispatcher, job):
        self.bench, self.cluster, self.dispatcher, self.job = bench, cluster, dispatcher, job
        self.submission = f"{job.id}-1"

    def write(self, position, data, stream=Stream.STDOUT):
        self.cluster.output(self.submission, position, 0).write(data, stream)

    async def see(self, state, *positions, **more):
        tasks = TaskSet.of(positions)
        before = (await self.bench.stands(self.job)).counts.get(state, 0)
        if state is State.RUNNING:
            more.setdefault("started_at", NOW)
        self.cluster.see(self.submission, state, tasks=tasks, **more)
        await self.bench.until(self.job, lambda job: job.counts.get(state, 0) >= before + len(tasks))

    async def all(self, cursor=None, **more):
        """(pieces as (index, text), cursor, whether that was the end)"""
        found = []
        while True:
            told = await self.dispatcher.output(self.job.id, ALICE, cursor=cursor, **more)
            found += [(piece.task, piece.data.decode()) for piece in told.pieces]
            cursor = told.cursor
            if told.ended or not told.pieces:
                return found, cursor, told.ended


@pytest.fixture
async def array(bench, cluster):
    """Tasks 10, 20, …, 90, handed over."""
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(array=an_array("10-90:10")), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        yield Array(bench, cluster, dispatcher, job)


async def test_tasks_follow_each_other_in_order_with_their_indices(array):
    await array.see(State.RUNNING, 0, 1, 2)
    array.write(2, b"third\n")
    array.write(0, b"first\n")
    array.write(0, b"oops\n", Stream.STDERR)
    found, cursor, ended = await array.all()
    assert (found, ended) == ([(10, "first\n"), (10, "oops\n")], False)

    await array.see(State.COMPLETED, 2, exit_code=0)
    assert (await array.all(cursor))[0] == [], "the first lives: its reader stays with it"
    array.write(0, b"more\n")
    await array.see(State.FAILED, 0, exit_code=1, reason=Reason.EXIT_CODE)
    found, cursor, _ = await array.all(cursor)
    assert found == [(10, "more\n")]
    await array.see(State.COMPLETED, 1, exit_code=0)
    found, cursor, ended = await array.all(cursor)
    assert (found, ended) == ([(30, "third\n")], False)
    await array.see(State.CANCELED, *range(3, 9), reason=Reason.STOPPED)
    assert (await array.all(cursor))[::2] == ([], True)


async def test_one_task_ends_when_it_ends_whatever_the_others_do(array):
    await array.see(State.RUNNING, 0, 4)
    array.write(0, b"not this\n")
    array.write(4, b"this\n")
    found, cursor, ended = await array.all(task=50)
    assert (found, ended) == ([(50, "this\n")], False)
    await array.see(State.COMPLETED, 4, exit_code=0)
    assert (await array.all(cursor, task=50))[::2] == ([], True)
    assert (await array.all(task=60))[::2] == ([], False)


async def test_a_task_that_does_not_exist_is_refused_by_name(array, bench, cluster):
    with pytest.raises(InvalidRequest, match="no task 11; its tasks are 10-90:10"):
        await array.all(task=11)
    plain, _ = await array.dispatcher.submit(a_spec(), ALICE)
    with pytest.raises(InvalidRequest, match="no array"):
        await array.dispatcher.output(plain.id, ALICE, task=1)
    assert not (await array.dispatcher.output(plain.id, ALICE, task=0)).ended


async def test_a_long_poll_wakes_with_a_line_and_with_the_next_task(array):
    await array.see(State.RUNNING, 0)
    got = []

    async def poll(cursor):
        got.append(await array.dispatcher.output(array.job.id, ALICE, cursor=cursor, wait_s=LONG_S))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tg:
            tg.start_soon(poll, None)
            await anyio.wait_all_tasks_blocked()
            array.write(0, b"x")
        async with anyio.create_task_group() as tg:
            tg.start_soon(poll, got[0].cursor)
            await anyio.wait_all_tasks_blocked()
            array.write(1, b"y")
            await array.see(State.COMPLETED, 0, exit_code=0)
    assert [(piece.task, piece.data) for told in got for piece in told.pieces] == [(10, b"x"), (20, b"y")]


async def test_before_it_is_handed_over_there_is_nothing_and_then_all(bench, cluster):
    cluster.submit_faults.append(OSError("not now"))
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(array=an_array("0-2")), ALICE)
        first = await dispatcher.output(job.id, ALICE)
        assert (first.pieces, first.ended) == ((), False)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        array = Array(bench, cluster, dispatcher, job)
        array.write(1, b"late\n")
        await array.see(State.COMPLETED, 0, 1, 2, exit_code=0)
        assert (await array.all(first.cursor))[::2] == ([(1, "late\n")], True)


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_small_pieces_make_the_same_whole(array, limit):
    for position in range(9):
        array.write(position, b"out %d" % position)
        array.write(position, b"err %d" % position, Stream.STDERR)
    await array.see(State.COMPLETED, *range(9), exit_code=0)
    found, _, ended = await array.all(limit_bytes=limit)
    assert ended
    assert [index for index, _ in found] == sorted(index for index, _ in found)
    for position in range(9):
        whole = "".join(text for index, text in found if index == 10 * position + 10)
        assert sorted(whole) == sorted(f"out {position}err {position}")


async def test_a_follower_sees_all_tasks_and_then_the_end(array):
    got = []

    async def follow():
        async for piece in array.dispatcher.follow(array.job.id, ALICE):
            if piece is not None:
                got.append((piece.kind, piece.task, piece.data))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tg:
            tg.start_soon(follow)
            for position in range(9):
                await array.see(State.RUNNING, position)
                if position % 2:
                    array.write(position, b"%d" % position)
                await array.see(State.COMPLETED, position, exit_code=0)
    assert got == [*(("output", 10 * at + 10, b"%d" % at) for at in (1, 3, 5, 7)), ("end", 0, b"")]


async def test_restarts_of_a_task_are_read_one_after_another(array):
    await array.see(State.RUNNING, 0)
    array.write(0, b"lost\n")
    await array.see(State.RUNNING, 1)
    array.cluster.output(array.submission, 0, 1).write(b"again\n")
    array.cluster.see(array.submission, State.COMPLETED, tasks=TaskSet.of([0]), restart=1, exit_code=0)
    await array.bench.until(array.job, lambda job: job.counts.get(State.COMPLETED) == 1)
    assert (await array.all(task=10))[::2] == ([(10, "lost\n"), (10, "again\n")], True)


async def test_near_the_end_is_that_of_the_last_that_started_or_of_one(array):
    for position in (0, 3):
        await array.see(State.RUNNING, position)
        array.write(position, b"%d: 123456789" % position)
    assert (await array.all(from_end_bytes=4))[0] == [(40, "6789")]
    assert (await array.all(task=10, from_end_bytes=2))[0] == [(10, "89")]
    assert (await array.all(task=20, from_end_bytes=2))[0] == []


async def test_many_silent_tasks_are_passed_over_in_bounded_looks(bench, cluster, monkeypatch):
    count = 20 * CHUNK
    asked = []

    async def next_output(submission, start, stop):
        asked.append((start, stop))
        spoke = [task for (_, task, _), out in cluster.outputs.items() if out.data[Stream.STDOUT]]
        return min((task for task in spoke if start <= task < stop), default=None)

    monkeypatch.setattr(cluster, "next_output", next_output)
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(array=an_array(f"0-{count - 1}")), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        array = Array(bench, cluster, dispatcher, job)
        array.write(5, b"early")
        array.write(count - 2, b"late")
        cluster.see(array.submission, State.CANCELED, tasks=TaskSet.first(count), reason=Reason.STOPPED)
        await bench.until(job, lambda job: job.state.ended)
        found, _, ended = await array.all()
        assert (found, ended) == ([(5, "early"), (count - 2, "late")], True)
        assert max(stop - start for start, stop in asked) <= 4 * CHUNK
        assert sum(stop - start for start, stop in asked) <= count + 2 * 4 * CHUNK

        monkeypatch.setattr(read_array, "_LONGEST_LOOK_S", 0.0)
        told = await dispatcher.output(job.id, ALICE, cursor=None, wait_s=LONG_S)
        assert (told.pieces, told.ended) == ((), False)
        assert Cursor.decode(told.cursor).task == 5
        pieces = [piece async for piece in dispatcher.follow(job.id, ALICE)]
        told = [(piece.kind, piece.task) for piece in pieces if piece is not None]
        assert told == [("output", 5), ("output", count - 2), ("end", 0)]


async def test_a_cursor_of_another_job_is_refused(array):
    other = Cursor(submission="a2345672345a-1", task=3).encode()
    with pytest.raises(InvalidRequest, match="another job"):
        await array.all(other)
