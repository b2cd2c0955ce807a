"""Uploads: only what is missing, whole in any order of failure, and honest about files that change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shorepower.client.statcache import StatCache
from shorepower.client.upload import FileKeepsChanging, Pack, SendProgress, upload
from shorepower.files.stage import missing_objects, objects, stage
from shorepower.model.errors import InvalidRequest, TooLarge, Unreachable
from support.trees import Server, grow, seen, send_project, view_of


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "blobs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    for path in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "other/d.txt", "other/same.txt"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
    (source / "a copy").write_text("a.txt")
    (source / "empty").touch()
    return source


def no_cache(root: Path, tmp_path: Path) -> StatCache:
    return StatCache.of(root, tmp_path / "none")


def test_everything_goes_once_and_a_second_time_nothing(
    source: Path, server: Server, tmp_path: Path
) -> None:
    first = send_project(source, server, tmp_path / "cache")
    assert (first.file_count, first.changed_count) == (7, 6)
    assert first.sent_bytes == sum(len(pack.body) for pack in server.packs)
    assert missing_objects(server.blobs, first.tree) == []
    server.packs.clear()
    server.asked = 0
    second = send_project(source, server, tmp_path / "cache")
    assert second.tree == first.tree and server.packs == [] and second.sent_bytes == 0
    assert server.asked == 1


def test_after_one_change_only_its_branch_is_asked_for(
    source: Path, server: Server, tmp_path: Path
) -> None:
    send_project(source, server, tmp_path / "cache")
    (source / "sub" / "deep" / "c.txt").write_text("changed")
    server.packs.clear()
    server.asked = 0
    sent = send_project(source, server, tmp_path / "cache")
    assert sent.changed_count == 1
    [pack] = server.packs
    assert pack.blob_count == 4  # the file, and the folders deep, sub and the project
    assert server.asked < 10


def test_a_changed_time_sends_tree_objects_only(source: Path, server: Server, tmp_path: Path) -> None:
    before = send_project(source, server, tmp_path / "cache")
    os.utime(source / "a.txt", ns=(5, 5))
    server.packs.clear()
    after = send_project(source, server, tmp_path / "cache")
    assert after.tree != before.tree and after.changed_count == 0
    assert [pack.blob_count for pack in server.packs] == [1]


def test_what_is_small_goes_out_as_it_is(source: Path, server: Server, tmp_path: Path) -> None:
    send_project(source, server, tmp_path / "cache")

    assert [pack.encoding for pack in server.packs] == [None]


def test_packs_are_bounded_and_compressed_when_that_helps(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "text").write_bytes(b"the same line again\n" * 2_000_000)
    (source / "noise").write_bytes(os.urandom(20 << 20))
    sent = send_project(source, server, tmp_path / "cache")
    assert {pack.encoding for pack in server.packs} == {"zstd", None}
    assert all(len(pack.body) <= (16 << 20) + 4096 for pack in server.packs)
    assert sent.sent_bytes < 30 << 20
    server.packs.clear()
    (source / "text").write_bytes(b"another line again\n" * 100)
    view = view_of(source)
    cache = no_cache(source, tmp_path)
    upload(view, missing=server.missing, send=server.send, cache=cache, compress=False)
    assert {pack.encoding for pack in server.packs} == {None}
    (tmp_path / "work").mkdir()
    stage(server.blobs, sent.tree, tmp_path / "work" / "project")
    assert (tmp_path / "work" / "project" / "text").stat().st_size == 40_000_000


def test_questions_come_in_pages(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(10_050):
        (source / str(number)).write_text(str(number))
    pages: list[int] = []

    def missing(digests: list[str]) -> list[str]:
        pages.append(len(digests))
        return server.missing(digests)

    cache = no_cache(source, tmp_path)
    sent = upload(view_of(source), missing=missing, send=server.send, cache=cache)  # type: ignore[arg-type]
    assert pages == [1, 10_000, 50]
    assert missing_objects(server.blobs, sent.tree) == []


@pytest.mark.parametrize("breaks_at", range(6))
def test_what_broke_off_goes_on_and_a_tree_that_is_there_is_whole(
    breaks_at: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.client.upload._PACK_BYTES", 600_000)
    source = tmp_path / "source"
    grow(source, 3)
    left = breaks_at

    def send(pack: Pack) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unreachable("the line broke")
        server.send(pack)

    try:
        upload(view_of(source), missing=server.missing, send=send, cache=no_cache(source, tmp_path))
    except Unreachable:
        pass
    for digest, _, _ in list(server.blobs.each()):
        if server.blobs.get(digest).startswith(b'{"v":1,"entries"'):
            assert missing_objects(server.blobs, digest) == []
    sent = upload(
        view_of(source), missing=server.missing, send=server.send, cache=no_cache(source, tmp_path)
    )
    assert missing_objects(server.blobs, sent.tree) == []


def test_thorough_sends_what_is_missing_below_a_tree_that_is_there(
    source: Path, server: Server, tmp_path: Path
) -> None:
    sent = send_project(source, server, tmp_path / "cache")
    gone = list(objects(server.blobs, sent.tree))[1:]
    server.blobs.delete(gone)
    assert send_project(source, server, tmp_path / "cache").sent_bytes == 0
    cache = StatCache.of(source, tmp_path / "cache")
    upload(view_of(source), missing=server.missing, send=server.send, cache=cache, thorough=True)
    assert missing_objects(server.blobs, sent.tree) == []


def test_a_file_that_changes_between_reading_and_sending_is_read_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.client.snapshot._HELD_BYTES", 0)
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_text("before")
    times = 1

    def missing(digests: list[str]) -> list[str]:
        nonlocal times
        if times:
            times -= 1
            (source / "log").write_text("after, and longer")
        return server.missing(digests)

    cache = StatCache.of(source, tmp_path / "cache")
    sent = upload(view_of(source), missing=missing, send=server.send, cache=cache)  # type: ignore[arg-type]
    (tmp_path / "work").mkdir()
    stage(server.blobs, sent.tree, tmp_path / "work" / "project")
    assert (tmp_path / "work" / "project" / "log").read_text() == "after, and longer"


def test_a_file_that_keeps_changing_is_an_error_in_words(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_text("x")
    real = os.fstat

    def growing(fd: int) -> os.stat_result:
        with open(source / "log", "a") as file:
            file.write("x")
        return real(fd)

    view = view_of(source)
    monkeypatch.setattr("shorepower.client.snapshot.os.fstat", growing)
    with pytest.raises(FileKeepsChanging, match="log is written to while it is read"):
        upload(view, missing=server.missing, send=server.send, cache=no_cache(source, tmp_path))


@pytest.mark.parametrize("what", ["gone", "folder", "link"])
def test_a_file_that_is_none_any_more_is_an_error_in_words(
    what: str, source: Path, server: Server, tmp_path: Path
) -> None:
    view = view_of(source)
    (source / "a.txt").unlink()
    if what == "folder":
        (source / "a.txt").mkdir()
    elif what == "link":
        (source / "a.txt").symlink_to("/etc/passwd")
    with pytest.raises(InvalidRequest, match=r"a\.txt"):
        upload(view, missing=server.missing, send=server.send, cache=no_cache(source, tmp_path))


def test_a_folder_with_too_many_files_is_an_error_in_words(
    source: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.client.snapshot.CHUNK_BYTES", 300)
    with pytest.raises(TooLarge, match="files in one folder"):
        upload(view_of(source), missing=server.missing, send=server.send, cache=no_cache(source, tmp_path))


def test_progress_says_what_goes_on(source: Path, server: Server, tmp_path: Path) -> None:
    told: list[SendProgress] = []
    cache = no_cache(source, tmp_path)
    upload(view_of(source), missing=server.missing, send=server.send, cache=cache, progress=told.append)
    assert [one.phase for one in told if one.done_bytes == 0] == ["reading", "asking", "sending"]


def test_an_empty_project(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    sent = send_project(source, server, tmp_path / "cache")
    assert (sent.file_count, sent.size_bytes) == (0, 0)
    (tmp_path / "work").mkdir()
    stage(server.blobs, sent.tree, tmp_path / "work" / "project")
    assert seen(tmp_path / "work" / "project") == {}
