"""Output from an opaque cursor: every byte once, gaps announced, until the end."""

import anyio
import pytest
from msgspec.structs import replace

from shorepower.model.errors import InvalidRequest
from shorepower.model.lifecycle import State
from shorepower.model.output import Cursor, Stream
from support.dispatching import ALICE, a_spec

pytestmark = pytest.mark.anyio
LONG_S = 60.0


@pytest.fixture
async def running(bench, cluster):
    """A dispatcher, a running job, and what it writes to."""
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        cluster.see(f"{job.id}-1", State.RUNNING)
        job = await bench.until(job, lambda job: job.state is State.RUNNING)
        yield dispatcher, job, cluster.output(f"{job.id}-1", 0, 0)


async def _end(bench, cluster, job, **more):
    cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0, **more)
    return await bench.until(job, lambda job: job.state.ended)


async def _all(dispatcher, job, cursor=None, **more) -> tuple[dict[Stream, bytes], str, bool]:
    have = dict.fromkeys(Stream, b"")
    while True:
        found = await dispatcher.output(job.id, ALICE, cursor=cursor, **more)
        for piece in found.pieces:
            assert piece.kind == "output"
            assert piece.offset == len(have[piece.stream])
            have[piece.stream] += piece.data
        cursor = found.cursor
        if found.ended or not found.pieces:
            return have, cursor, found.ended


async def test_both_streams_come_whole_and_then_the_end(bench, cluster, running):
    dispatcher, job, written = running
    written.write(b"one\n")
    written.write(b"two\n", Stream.STDERR)
    have, cursor, ended = await _all(dispatcher, job)
    assert (have, ended) == ({Stream.STDOUT: b"one\n", Stream.STDERR: b"two\n"}, False)
    written.write(b"three\n")
    await _end(bench, cluster, job)
    found = await dispatcher.output(job.id, ALICE, cursor=cursor)
    assert [(piece.data, piece.offset) for piece in found.pieces] == [(b"three\n", 4)]
    assert (await dispatcher.output(job.id, ALICE, cursor=found.cursor)).ended


@pytest.mark.parametrize("limit", [1, 7, 1000])
async def test_small_pieces_make_the_same_whole(bench, cluster, running, limit):
    dispatcher, job, written = running
    data = bytes(range(256)) * 2
    written.write(data)
    written.write(data[::-1], Stream.STDERR)
    await _end(bench, cluster, job)
    have, _, ended = await _all(dispatcher, job, limit_bytes=limit)
    assert (have, ended) == ({Stream.STDOUT: data, Stream.STDERR: data[::-1]}, True)


async def test_a_long_poll_wakes_with_a_line(running):
    dispatcher, job, written = running
    found = []

    async def poll():
        found.append(await dispatcher.output(job.id, ALICE, wait_s=LONG_S))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tg:
            tg.start_soon(poll)
            await anyio.wait_all_tasks_blocked()
            written.write(b"x")
    assert found[0].pieces[0].data == b"x"


async def test_a_long_poll_wakes_with_the_end(bench, cluster, running):
    dispatcher, job, _ = running
    found = []

    async def poll():
        found.append(await dispatcher.output(job.id, ALICE, wait_s=LONG_S))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tg:
            tg.start_soon(poll)
            await anyio.wait_all_tasks_blocked()
            await _end(bench, cluster, job)
    assert found[0].ended


async def test_a_long_poll_of_a_job_that_waits_wakes_with_its_first_line(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        found = []

        async def poll():
            found.append(await dispatcher.output(job.id, ALICE, wait_s=LONG_S))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tg:
                tg.start_soon(poll)
                await anyio.wait_all_tasks_blocked()
                cluster.output(f"{job.id}-1", 0, 0).write(b"first")
                cluster.see(f"{job.id}-1", State.RUNNING, started_at=bench.clock.now())
        assert found[0].pieces[0].data == b"first"


async def test_what_is_no_longer_kept_is_an_announced_gap(running):
    dispatcher, job, written = running
    written.write(b"0123456789")
    written.first[Stream.STDOUT] = 4
    found = await dispatcher.output(job.id, ALICE)
    gap, rest = found.pieces
    assert (gap.kind, gap.stream, gap.offset, gap.missing_bytes) == ("gap", Stream.STDOUT, 0, 4)
    assert (rest.kind, rest.offset, rest.data) == ("output", 4, b"456789")
    after_gap = await dispatcher.output(job.id, ALICE, cursor=gap.cursor)
    assert [piece.data for piece in after_gap.pieces] == [b"456789"]


async def test_a_reader_goes_on_from_any_piece(bench, cluster, running):
    dispatcher, job, written = running
    for number in range(5):
        written.write(b"%d" % number)
        written.write(b"%c" % (97 + number), Stream.STDERR)
        found = await dispatcher.output(job.id, ALICE)
        for piece in found.pieces:
            rest = await dispatcher.output(job.id, ALICE, cursor=piece.cursor)
            told = {one.stream: one.offset for one in rest.pieces}
            assert all(offset > piece.offset for stream, offset in told.items() if stream is piece.stream)


async def test_the_last_bytes(running):
    dispatcher, job, written = running
    written.write(b"0123456789")
    written.write(b"ab", Stream.STDERR)
    found = await dispatcher.output(job.id, ALICE, from_end_bytes=3)
    assert {piece.stream: piece.data for piece in found.pieces} == {
        Stream.STDOUT: b"789",
        Stream.STDERR: b"ab",
    }


async def test_following_ends_with_the_end(bench, cluster, running):
    dispatcher, job, written = running
    told = []

    async def follow():
        told.extend([piece async for piece in dispatcher.follow(job.id, ALICE)])

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tg:
            tg.start_soon(follow)
            for number in range(3):
                await anyio.wait_all_tasks_blocked()
                written.write(b"%d\n" % number)
            await anyio.wait_all_tasks_blocked()
            await _end(bench, cluster, job)
    assert b"".join(piece.data for piece in told if piece) == b"0\n1\n2\n"
    assert told[-1].kind == "end"
    assert dispatcher._output.followers == 0


async def test_one_who_leaves_is_not_counted_any_more(running):
    dispatcher, job, written = running
    written.write(b"x")
    reader = dispatcher.follow(job.id, ALICE)
    await anext(reader)
    assert dispatcher._output.followers == 1
    await reader.aclose()
    assert dispatcher._output.followers == 0


async def test_a_restart_by_the_scheduler_is_read_after_what_came_before(bench, cluster, running):
    dispatcher, job, written = running
    written.write(b"before ")
    cluster.see(f"{job.id}-1", State.RUNNING, restart=1)
    await bench.until(job, lambda job: job.restart == 1)
    cluster.output(f"{job.id}-1", 0, 1).write(b"after")
    await _end(bench, cluster, job, restart=1)
    cursor, told = None, []
    while True:
        found = await dispatcher.output(job.id, ALICE, cursor=cursor)
        told += [piece.data for piece in found.pieces]
        cursor = found.cursor
        if found.ended:
            break
    assert told == [b"before ", b"after"]


async def test_a_new_life_reads_on_from_an_old_cursor(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        cluster.output(f"{job.id}-1", 0, 0).write(b"one")
        cluster.see(f"{job.id}-1", State.RUNNING)
        await bench.until(job, lambda job: job.state is State.RUNNING)
        found = await dispatcher.output(job.id, ALICE)
    cluster.output(f"{job.id}-1", 0, 0).write(b"two")
    async with bench.running() as dispatcher:
        rest = await dispatcher.output(job.id, ALICE, cursor=found.cursor)
    assert [piece.data for piece in rest.pieces] == [b"two"]


@pytest.mark.parametrize("cursor", ["x", "", "MQ", "é", "a" * 300])
async def test_nonsense_is_no_cursor(running, cursor):
    dispatcher, job, _ = running
    with pytest.raises(InvalidRequest, match="cursor"):
        await dispatcher.output(job.id, ALICE, cursor=cursor)


async def test_a_cursor_belongs_to_one_job(running):
    dispatcher, job, _ = running
    other = Cursor(submission="zzzzzzzzzzzz-1", attempt=1).encode()
    with pytest.raises(InvalidRequest, match="another job"):
        await dispatcher.output(job.id, ALICE, cursor=other)


@pytest.mark.parametrize("beyond", [10**6, 2**62, 2**63, 10**40])
@pytest.mark.parametrize("field", ["stdout", "attempt", "restart", "task"])
async def test_a_cursor_from_beyond_finds_nothing_or_is_refused(bench, cluster, running, beyond, field):
    dispatcher, job, written = running
    written.write(b"x")
    await _end(bench, cluster, job)
    place = Cursor(submission=f"{job.id}-1", attempt=1, stdout=1)
    try:
        found = await dispatcher.output(job.id, ALICE, cursor=replace(place, **{field: beyond}).encode())
    except InvalidRequest:
        return
    assert found.pieces == ()
    assert found.ended


def test_a_cursor_is_short():
    most = 2**63 - 1
    far = Cursor(
        submission="a" * 12 + "-99999", task=10**6, attempt=999, restart=99, stdout=most, stderr=most
    )
    assert len(far.encode()) <= 200
    assert Cursor.decode(far.encode()) == far
