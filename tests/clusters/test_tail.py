import os

import anyio
import pytest

from shorepower.clusters import tail
from shorepower.clusters.local.trim import trim
from shorepower.clusters.spool import Spool
from shorepower.clusters.tail import Tails, kept_from
from shorepower.model.output import Stream

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@pytest.fixture
def part(tmp_path):
    made = Spool(tmp_path / "spool").part("abc-1", 0, 0)
    for fd in made.open_output():
        os.close(fd)
    return made


def kept(part):
    with open(part.output(Stream.STDOUT), "rb") as file:
        return kept_from(file.fileno())


@pytest.fixture
def looks(monkeypatch):
    """How often the files were looked at."""
    counted, real = [], tail._sizes
    monkeypatch.setattr(tail, "_sizes", lambda part: counted.append(1) or real(part))
    return counted


async def test_nobody_waits_nothing_looks(part, looks):
    tails = Tails()
    source = tails.source(part)
    assert not await source.grown(0, 0, 0.05)
    seen = len(looks)
    assert seen
    await anyio.sleep(0.3)
    assert len(looks) == seen
    assert len(tails) == 1
    del source
    assert len(tails) == 0


async def test_followers_share_one_look(part, looks):
    tails = Tails()
    sources = [tails.source(part) for _ in range(50)]
    woken = []

    async def follow(source):
        woken.append(await source.grown(0, 0, 20))

    async with anyio.create_task_group() as tg:
        for source in sources:
            tg.start_soon(follow, source)
        await anyio.sleep(0.5)
        before = len(looks)
        await anyio.sleep(0.5)
        assert len(looks) - before < 50  # one looker, at most every 2 ms at first and 100 ms when idle
        (part.folder / "stderr.0.0").write_bytes(b"x")
    assert woken == [True] * 50


async def test_another_follower_looks_when_the_first_leaves(part):
    tails, woken, first = Tails(), [], anyio.CancelScope()

    async def lead():
        with first:
            await tails.source(part).grown(0, 0, 20)
            woken.append("first")

    async def follow():
        if await second.grown(0, 0, 20):
            woken.append("second")

    second = tails.source(part)
    async with anyio.create_task_group() as tg:
        tg.start_soon(lead)
        await anyio.sleep(0.05)
        tg.start_soon(follow)
        await anyio.sleep(0.05)
        first.cancel()
        await anyio.sleep(0.05)
        (part.folder / "stdout.0.0").write_bytes(b"x")
    assert woken == ["second"]


async def test_older_bytes_are_an_announced_gap(part):
    file = part.folder / "stdout.0.0"
    file.write_bytes(bytes(range(256)) * (3 * MIB // 256))
    trim(part, MIB)
    source = Tails().source(part)
    size = await source.size(Stream.STDOUT)
    assert size == 3 * MIB
    if kept(part) == 0:
        pytest.skip("this file system cannot give back the beginning of a file")
    assert file.stat().st_blocks * 512 < 2 * MIB
    offset, data = await source.read(Stream.STDOUT, 0, 100)
    assert offset == 2 * MIB
    assert data == bytes(range(100))
    assert await source.read(Stream.STDOUT, 2 * MIB + 7, 3) == (2 * MIB + 7, bytes((7, 8, 9)))
    assert (await source.read(Stream.STDERR, 0, 10)) == (0, b"")


async def test_trimming_goes_on_and_never_back(part):
    file = part.folder / "stdout.0.0"
    limit, seen = 1 << 18, []
    for _ in range(8):
        with open(file, "ab") as more:
            more.write(os.urandom(1 << 18))
        trim(part, limit)
        seen.append(kept(part))
    assert seen == sorted(seen)
    if seen[-1]:
        assert file.stat().st_size - seen[-1] <= limit + (1 << 16)


async def test_where_holes_cannot_be_punched_everything_stays(part, monkeypatch):
    monkeypatch.setattr("shorepower.clusters.local.trim._fallocate", lambda: None)
    (part.folder / "stdout.0.0").write_bytes(b"x" * MIB)
    trim(part, 1 << 17)
    offset, data = await Tails().source(part).read(Stream.STDOUT, 0, 10)
    assert (offset, data) == (0, b"x" * 10)


async def test_no_zeros_are_read_while_the_beginning_goes(part, monkeypatch):
    """The place moves between finding it and reading there."""
    (part.folder / "stdout.0.0").write_bytes(b"a" * MIB + b"b" * MIB)
    real, calls = os.pread, []

    def slow(fd, length, offset):
        if not calls:
            trim(part, MIB)
        calls.append(offset)
        return real(fd, length, offset)

    monkeypatch.setattr("shorepower.clusters.tail.os.pread", slow)
    offset, data = await Tails().source(part).read(Stream.STDOUT, 0, 10)
    if kept(part):
        assert (offset, data) == (MIB, b"b" * 10)
        assert calls == [0, MIB]


def test_what_is_written_while_one_looks_is_no_gap(tmp_path, monkeypatch):
    """The first line of a job may come between the two looks at a file that was empty."""
    path = tmp_path / "stdout"
    path.touch()
    ask = os.lseek

    def ask_while_it_writes(fd: int, offset: int, whence: int) -> int:
        try:
            return ask(fd, offset, whence)
        finally:
            with path.open("ab") as file:
                file.write(b"first line\n")

    monkeypatch.setattr(os, "lseek", ask_while_it_writes)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert kept_from(fd) == 0
    finally:
        os.close(fd)


async def test_no_file_is_looked_for_seldom_and_its_beginning_is_seen_at_once(tmp_path, looks):
    part = Spool(tmp_path / "spool").part("abc-1", 0, 0)
    tails, woken = Tails(), []
    source = tails.source(part)

    async def follow():
        woken.append(await source.grown(0, 0, 20))

    async with anyio.create_task_group() as tg:
        tg.start_soon(follow)
        await anyio.sleep(1.0)
        before = len(looks)
        await anyio.sleep(1.0)
        assert len(looks) - before <= 4
        part.folder.mkdir(parents=True)
        part.output(Stream.STDOUT).write_bytes(b"x")
        began = anyio.current_time()
        tails.begun(part)
    assert woken == [True]
    assert anyio.current_time() - began < 0.5  # half of what it waits between two looks of its own
    assert await source.size(Stream.STDERR) == 0
