"""The stat cache: right or useless, never wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from shorepower.client.statcache import StatCache
from shorepower.model.tree import decode_tree, digest_of
from support.trees import Server, send_project

DIGESTS = ["sha256:" + "ab" * 32, "sha256:" + "0f" * 32]


def keys(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def remembered(tmp_path: Path) -> tuple[StatCache, os.stat_result]:
    (tmp_path / "f").write_text("x")
    status = (tmp_path / "f").stat()
    cache = StatCache.of(tmp_path, tmp_path / "cache")
    cache.put(b"f", status, DIGESTS, status.st_ctime_ns + 10**10)
    cache.save()
    return StatCache.of(tmp_path, tmp_path / "cache"), status


def test_what_was_put_is_found_by_the_next_run(tmp_path: Path) -> None:
    cache, status = remembered(tmp_path)
    assert cache.get(b"f", *keys(status)) == DIGESTS
    for number in range(4):
        other = list(keys(status))
        other[number] += 1
        assert cache.get(b"f", *other) is None
    assert cache.get(b"g", *keys(status)) is None


def test_a_file_changed_a_moment_ago_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    status = (tmp_path / "f").stat()
    cache = StatCache.of(tmp_path, tmp_path / "cache")
    for later_ns in (0, 1_000_000, 50_000_000):
        cache.put(b"f", status, DIGESTS, status.st_ctime_ns + later_ns)
        assert cache.get(b"f", *keys(status)) is None
    cache.put(b"f", status, DIGESTS, status.st_ctime_ns + 4_000_000_000)
    cache.save()
    assert StatCache.of(tmp_path, tmp_path / "cache").get(b"f", *keys(status)) == DIGESTS
    os.utime(tmp_path / "f", ns=(10**18, 10**18))  # a clock that keeps whole seconds only
    coarse = (tmp_path / "f").stat()
    cache.put(b"f", coarse, DIGESTS, coarse.st_ctime_ns + 200_000_000)
    cache.save()
    assert StatCache.of(tmp_path, tmp_path / "cache").get(b"f", *keys(coarse)) is None


@pytest.mark.parametrize("damage", [b"", b"\xff\xff", b"\x93\x02\xc4\x00\x80", b"{}", b"x" * 1000])
def test_a_damaged_cache_is_the_same_as_none(damage: bytes, tmp_path: Path) -> None:
    _, status = remembered(tmp_path)
    [file] = (tmp_path / "cache" / "files").iterdir()
    for content in (damage, file.read_bytes()[:-5]):
        file.write_bytes(content)
        assert StatCache.of(tmp_path, tmp_path / "cache").get(b"f", *keys(status)) is None


def test_the_cache_of_another_project_is_not_taken(tmp_path: Path) -> None:
    _, status = remembered(tmp_path)
    [file] = (tmp_path / "cache" / "files").iterdir()
    StatCache.of(tmp_path / "other", tmp_path / "cache").save()
    other = StatCache.of(tmp_path / "other", tmp_path / "cache")
    other.put(b"x", status, DIGESTS, status.st_ctime_ns + 10**10)
    other.save()
    [copied] = [one for one in (tmp_path / "cache" / "files").iterdir() if one != file]
    copied.write_bytes(file.read_bytes())
    assert StatCache.of(tmp_path / "other", tmp_path / "cache").get(b"f", *keys(status)) is None


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    cache, status = remembered(tmp_path)
    cache.save()
    assert StatCache.of(tmp_path, tmp_path / "cache").get(b"f", *keys(status)) is None


def test_a_cache_that_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    (tmp_path / "f").write_text("x")
    cache = StatCache.of(tmp_path, tmp_path / "cache")
    cache.put(b"f", (tmp_path / "f").stat(), DIGESTS, time.time_ns() + 10**10)
    cache.save()


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
