"""The stat cache: right or useless, never wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shorepower.client.statcache import FolderCache, StatCache
from shorepower.client.upload import upload
from shorepower.files.stage import missing_objects
from shorepower.model.tree import decode_tree, digest_of
from support.trees import Server, send_project, view_of

DIGESTS = ["sha256:" + "ab" * 32, "sha256:" + "0f" * 32]


def keys(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def read(tmp_path: Path) -> FolderCache:
    return StatCache.of(tmp_path, tmp_path / "cache").folder(b"sub")


def remember(tmp_path: Path, status: os.stat_result, *, later_ns: int = 10**10) -> None:
    cache = StatCache.of(tmp_path, tmp_path / "cache")
    folder = cache.folder(b"sub")
    folder.put(b"f", status, DIGESTS, status.st_ctime_ns + later_ns)
    folder.settle(b"signature", "sha256:tree", 7)
    cache.save()


@pytest.fixture
def status(tmp_path: Path) -> os.stat_result:
    (tmp_path / "f").write_text("x")
    return (tmp_path / "f").stat()


def test_what_was_put_is_found_by_the_next_run(tmp_path: Path, status: os.stat_result) -> None:
    remember(tmp_path, status)
    folder = read(tmp_path)
    assert folder.whole(b"signature") == ("sha256:tree", 7) and folder.whole(b"other") is None
    assert folder.get(b"f", *keys(status)) == DIGESTS
    for number in range(4):
        other = list(keys(status))
        other[number] += 1
        assert folder.get(b"f", *other) is None
    assert folder.get(b"g", *keys(status)) is None


def test_a_file_changed_a_moment_ago_is_not_trusted(tmp_path: Path, status: os.stat_result) -> None:
    for later_ns in (0, 1_000_000, 50_000_000):
        remember(tmp_path, status, later_ns=later_ns)
        assert read(tmp_path).get(b"f", *keys(status)) is None
        assert read(tmp_path).whole(b"signature") is None
    remember(tmp_path, status, later_ns=4_000_000_000)
    assert read(tmp_path).get(b"f", *keys(status)) == DIGESTS
    os.utime(tmp_path / "f", ns=(10**18, 10**18))  # a clock that keeps whole seconds only
    coarse = (tmp_path / "f").stat()
    remember(tmp_path, coarse, later_ns=200_000_000)
    assert read(tmp_path).get(b"f", *keys(coarse)) is None


def test_a_file_to_forget_takes_its_folder_along(tmp_path: Path, status: os.stat_result) -> None:
    remember(tmp_path, status)
    cache = StatCache.of(tmp_path, tmp_path / "cache")
    cache.forget(b"sub/f")
    assert cache.folder(b"sub").whole(b"signature") is None
    assert cache.folder(b"sub").get(b"f", *keys(status)) is None


@pytest.mark.parametrize("damage", [b"", b"\xff\xff", b"\x93\x02\xc4\x00\x80", b"{}", b"x" * 1000])
def test_a_damaged_cache_is_the_same_as_none(damage: bytes, tmp_path: Path, status: os.stat_result) -> None:
    remember(tmp_path, status)
    [file] = (tmp_path / "cache" / "files").iterdir()
    for content in (damage, file.read_bytes()[:-5]):
        file.write_bytes(content)
        assert read(tmp_path).get(b"f", *keys(status)) is None
        assert read(tmp_path).whole(b"signature") is None


def test_a_cache_with_flipped_bits_costs_time_only(tmp_path: Path) -> None:
    source, server = tmp_path / "source", Server(tmp_path / "blobs")
    for path in ("a", "sub/b", "sub/c"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
        os.utime(source / path, ns=(10**18 + 1, 10**18 + 1))
    expected = send_project(source, server, tmp_path / "none").tree
    cache = StatCache.of(source, tmp_path / "cache")
    later = (source / "a").stat().st_ctime_ns + 10**10
    for folder in ("", "sub"):
        for file in sorted((source / folder).iterdir()):
            if file.is_file():
                part = cache.folder(folder.encode())
                part.put(file.name.encode(), file.stat(), [digest_of(file.read_bytes())], later)
    send_with(source, server, cache)
    [file] = (tmp_path / "cache" / "files").iterdir()
    good = file.read_bytes()
    for at in range(0, len(good), 7):
        file.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        server.blobs.delete([digest for digest, _, _ in list(server.blobs.each())])
        sent = send_project(source, server, tmp_path / "cache")
        assert sent.tree == expected and missing_objects(server.blobs, sent.tree) == []


def send_with(source: Path, server: Server, cache: StatCache) -> None:
    upload(view_of(source), missing=server.missing, send=server.send, cache=cache)
    cache.save()


def test_the_cache_of_another_project_is_not_taken(tmp_path: Path, status: os.stat_result) -> None:
    remember(tmp_path, status)
    [file] = (tmp_path / "cache" / "files").iterdir()
    other = StatCache.of(tmp_path / "other", tmp_path / "cache")
    other.folder(b"").settle(b"s", "t", 0)
    other.save()
    [copied] = [one for one in (tmp_path / "cache" / "files").iterdir() if one != file]
    copied.write_bytes(file.read_bytes())
    found = StatCache.of(tmp_path / "other", tmp_path / "cache").folder(b"sub")
    assert found.get(b"f", *keys(status)) is None


def test_folders_that_are_gone_are_forgotten(tmp_path: Path, status: os.stat_result) -> None:
    remember(tmp_path, status)
    cache = StatCache.of(tmp_path, tmp_path / "cache")
    cache.folder(b"").settle(b"s", "t", 0)
    cache.save()
    assert read(tmp_path).whole(b"signature") is None


def test_a_cache_that_cannot_be_kept_is_no_error(tmp_path: Path, status: os.stat_result) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    remember(tmp_path, status)


def test_a_second_change_in_the_same_instant_is_sent(tmp_path: Path) -> None:
    """The racy moment: same size, same time, same inode, other content."""
    source, server = tmp_path / "source", Server(tmp_path / "blobs")
    source.mkdir()
    file = source / "f"
    for number in range(40):
        text = f"{number:04d}".encode()
        file.write_bytes(text)
        [entry] = decode_tree(server.blobs.get(send_project(source, server, tmp_path / "cache").tree))
        assert entry.digests == (digest_of(text),)
