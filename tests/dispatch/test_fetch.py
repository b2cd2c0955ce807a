"""Results are read many at a time, each file in order and to its end."""

import os

import pytest

from shorepower.dispatch.fetch import FileAsked, FilePiece
from shorepower.model.errors import NotFound
from shorepower.model.lifecycle import State
from shorepower.model.results import ResultsState
from support.dispatching import ALICE, BOB, a_spec

pytestmark = pytest.mark.anyio

MIB = 1 << 20


async def _ended(bench, cluster, dispatcher, files: dict[bytes, bytes]):
    job, _ = await dispatcher.submit(a_spec(in_place=False, workdir=""), ALICE)
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)
    for name, data in files.items():
        path = os.path.join(os.fsencode(bench.places.project(f"{job.id}-1")), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
    cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
    return await bench.until(job, lambda job: job.results.state is ResultsState.READY)


async def _batches(dispatcher, job, asked, caller=ALICE) -> list[list[FilePiece]]:
    return [batch async for batch in dispatcher.read_files(job.id, asked, caller)]


def _whole(batches: list[list[FilePiece]], count: int) -> list[bytes]:
    """The content of each file; its pieces come in order and the last one says so."""
    found = [b""] * count
    ended: set[int] = set()
    for piece in (piece for batch in batches for piece in batch):
        assert piece.number == len(ended), "one after the other"
        assert piece.offset == len(found[piece.number])
        found[piece.number] += piece.data
        if piece.eof:
            ended.add(piece.number)
    assert len(ended) == count
    return found


async def test_many_small_files_come_together_and_large_ones_in_pieces(bench, cluster):
    files = {b"d/%03d" % number: b"%d" % number for number in range(600)}
    files |= {b"empty": b"", b"exactly": bytes(MIB), b"large": os.urandom(3 * MIB + 5), b"\xff": b"odd"}
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher, files)
        batches = await _batches(dispatcher, job, [FileAsked(path=path) for path in files])
        assert _whole(batches, len(files)) == list(files.values())
        assert len(batches) < 12
        assert all(sum(len(piece.data) for piece in batch) <= MIB for batch in batches)


async def test_from_an_offset_and_beyond_the_end(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher, {b"a": b"0123456789", b"b": b"x"})
        asked = [FileAsked(path=b"a", offset=7), FileAsked(path=b"a", offset=50), FileAsked(path=b"b")]
        pieces = [piece for batch in await _batches(dispatcher, job, asked) for piece in batch]
        assert [(piece.offset, piece.data, piece.eof) for piece in pieces] == [
            (7, b"789", True),
            (50, b"", True),
            (0, b"x", True),
        ]


async def test_what_cannot_be_read_is_told_and_the_next_one_follows(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher, {b"a": b"1"})
        os.symlink("/etc/passwd", bench.places.project(f"{job.id}-1") / "link")
        paths = [b"gone", b"../../store.db", b"link", b"a"]
        asked = [*(FileAsked(path=path) for path in paths), FileAsked(path=b"a", area="secrets")]
        pieces = [piece for batch in await _batches(dispatcher, job, asked) for piece in batch]
        assert [bool(piece.error) for piece in pieces] == [True, True, True, False, True]
        assert pieces[3].data == b"1"
        assert await _batches(dispatcher, job, []) == []


async def test_of_another_nothing_and_of_what_is_gone_a_sentence(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher, {b"a": b"1"})
        with pytest.raises(NotFound):
            await _batches(dispatcher, job, [FileAsked(path=b"a")], BOB)
        await dispatcher._expire.drop_results(job)
        ((one, two),) = await _batches(dispatcher, job, [FileAsked(path=b"a"), FileAsked(path=b"b")])
        assert "do not lie here" in one.error and "do not lie here" in two.error
