"""What tasks give back: every byte of each log once, in time, and nothing else of this machine."""

import os
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from shorepower.dispatch.news import News
from shorepower.dispatch.values import Values
from shorepower.model.errors import NotFound
from shorepower.model.job import submission_id
from shorepower.model.lifecycle import State
from support.dispatching import ALICE, BOB, on_record

pytestmark = pytest.mark.anyio
LONG_S = 30.0


@pytest.fixture
async def laid_out(store, tmp_path):
    """(values, a job whose working folder is laid out, its folder of values, the news)."""
    job = await on_record(store)
    work = tmp_path / "work" / f"{job.id}-1"
    (work / "values").mkdir(parents=True)
    name = submission_id(job.id, 1)
    await store.write(lambda tx: tx.put_submission(replace(tx.submission(name), workdir=str(work))))
    news = News()
    return Values(store, news), job, work / "values", news


async def _read(values, job, offsets=None, wait_s=0.0, caller=ALICE):
    return [piece async for piece in values.read(job.id, caller, offsets or {}, wait_s=wait_s)]


async def _end(store, news, job):
    await store.write(lambda tx: tx.update_job(replace(tx.job(job.id), state=State.COMPLETED)))
    news.tell(job.id)


async def test_each_log_is_read_on_from_where_its_reader_is(laid_out) -> None:
    values, job, folder, _ = laid_out
    (folder / "0").write_bytes(b"zero")
    (folder / "17").write_bytes(b"seventeen")

    found = await _read(values, job, {17: 5, 3: 9})

    told = [(piece.kind, piece.task, piece.offset, piece.data) for piece in found]
    assert told == [("value", 0, 0, b"zero"), ("value", 17, 5, b"teen"), ("more", 0, 0, b"")]


async def test_a_reader_hears_of_growth_and_of_the_end(laid_out, store) -> None:
    values, job, folder, news = laid_out
    heard = []

    async def follow() -> None:
        have = 0
        while not heard or heard[-1] != "end":
            for piece in await _read(values, job, {0: have}, LONG_S):
                heard.append(piece.data or piece.kind)
                have += len(piece.data)

    async with anyio.create_task_group() as tg:
        with anyio.fail_after(LONG_S / 2):
            tg.start_soon(follow)
            await anyio.wait_all_tasks_blocked()
            (folder / "0").write_bytes(b"first")
            while b"first" not in heard:  # noqa: ASYNC110 - the reader polls a file, which tells nobody
                await anyio.sleep(0.001)
            with (folder / "0").open("ab") as log:
                log.write(b"last")
            await _end(store, news, job)

            while heard[-1] != "end":  # noqa: ASYNC110
                await anyio.sleep(0.001)
    assert b"".join(data for data in heard if isinstance(data, bytes)) == b"firstlast"


async def test_a_job_without_values_ends_without_any(laid_out, store) -> None:
    values, job, _, news = laid_out
    await _end(store, news, job)

    assert [piece.kind for piece in await _read(values, job, wait_s=LONG_S)] == ["end"]


async def test_nothing_but_logs_is_read(laid_out, tmp_path: Path) -> None:
    values, job, folder, _ = laid_out
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (folder / "0").symlink_to(secret)
    os.mkfifo(folder / "1")
    (folder / "2").mkdir()
    for name in ("07", "x", "1e3", "²", "-1", "12345678901"):
        (folder / name).write_text("no index")

    assert [piece.kind for piece in await _read(values, job)] == ["more"]


async def test_a_folder_that_became_a_link_holds_nothing(laid_out, tmp_path: Path) -> None:
    values, job, folder, _ = laid_out
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0").write_text("secret")
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")

    assert [piece.kind for piece in await _read(values, job)] == ["more"]


async def test_a_log_that_was_begun_anew_is_read_from_its_beginning(laid_out) -> None:
    values, job, folder, _ = laid_out
    (folder / "0").write_bytes(b"new")

    found = await _read(values, job, {0: 1000})

    assert (found[0].offset, found[0].data) == (0, b"new")


async def test_an_answer_has_its_bounds(laid_out, store) -> None:
    values, job, folder, news = laid_out
    size = (64 << 20) + 5
    with (folder / "0").open("wb") as log:
        log.truncate(size)
    await _end(store, news, job)

    first = await _read(values, job)
    second = await _read(values, job, {0: 64 << 20})

    assert max(len(piece.data) for piece in first) == 1 << 20
    assert sum(len(piece.data) for piece in first) == 64 << 20
    assert (first[-1].kind, second[-1].kind) == ("more", "end")
    assert sum(len(piece.data) for piece in second) == 5


async def test_nobody_reads_the_values_of_another(laid_out) -> None:
    values, job, _, _ = laid_out

    with pytest.raises(NotFound):
        await _read(values, job, caller=BOB)
