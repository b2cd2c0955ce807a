"""Blobs: verified, durable, healed, swept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shorepower.files.blobs import BlobLost, BlobStore
from shorepower.model.errors import InvalidRequest, StorageFault
from shorepower.model.tree import CHUNK_BYTES, digest_of


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    store = BlobStore(tmp_path / "blobs")
    store.prepare()
    return store


def pair(data: bytes) -> tuple[str, bytes]:
    return digest_of(data), data


def test_what_was_put_comes_back(blobs: BlobStore) -> None:
    some = [pair(b""), pair(b"a"), pair(os.urandom(CHUNK_BYTES))]
    assert blobs.put(some) == 1 + CHUNK_BYTES
    assert [blobs.get(digest) for digest, _ in some] == [data for _, data in some]
    assert blobs.put(some) == 0
    assert blobs.size_bytes() == 1 + CHUNK_BYTES
    assert {digest for digest, _, _ in blobs.each()} == {digest for digest, _ in some}


def test_missing_keeps_order_and_says_each_once(blobs: BlobStore) -> None:
    here, there, also = digest_of(b"x"), digest_of(b"y"), digest_of(b"z")
    blobs.put([(here, b"x")])
    assert blobs.missing([there, here, also, there]) == [there, also]
    with pytest.raises(InvalidRequest, match="is not a digest"):
        blobs.missing(["sha256:../../etc/passwd"])


def test_a_wrong_digest_or_size_is_refused_and_nothing_is_kept(blobs: BlobStore) -> None:
    with pytest.raises(InvalidRequest, match="what was sent as"):
        blobs.put([pair(b"good"), (digest_of(b"other"), b"bad")])
    with pytest.raises(InvalidRequest, match="at most"):
        blobs.put([pair(b"x" * (CHUNK_BYTES + 1))])
    with pytest.raises(InvalidRequest, match="is not a digest"):
        blobs.put([("sha256:" + "0" * 63 + "/", b"")])
    assert list(blobs.each()) == []
    assert os.listdir(blobs.root / "incoming") == []


@pytest.mark.parametrize("damage", [b"", b"short", b"xxxxxxxxx", b"something longer than it was"])
def test_damage_is_noticed_and_mended_by_sending_again(blobs: BlobStore, damage: bytes) -> None:
    digest, data = pair(b"the truth")
    blobs.put([(digest, data)])
    Path(blobs.place(digest)).write_bytes(damage)
    if damage:
        with pytest.raises(BlobLost, match="damaged"):
            blobs.get(digest)
    assert blobs.missing([digest]) == [digest]
    blobs.put([(digest, data)])
    assert blobs.get(digest) == data


def test_sending_again_mends_damage_nobody_noticed(blobs: BlobStore) -> None:
    digest, data = pair(b"the truth")
    blobs.put([(digest, data)])
    Path(blobs.place(digest)).write_bytes(b"the lies!")
    blobs.put([(digest, data)])
    assert blobs.get(digest) == data


def test_delete_frees_and_twice_is_harmless(blobs: BlobStore) -> None:
    blobs.put([pair(b"abc"), pair(b"defg")])
    both = [digest_of(b"abc"), digest_of(b"defg")]
    assert blobs.delete(both) == 7
    assert blobs.delete(both) == 0
    with pytest.raises(BlobLost, match="not here"):
        blobs.get(both[0])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["write", "rename", "sync"])
def test_a_refusing_disk_leaves_nothing_half_done(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    target = {"write": "shorepower.files.blobs.os.open", "rename": "shorepower.files.blobs.os.rename"}
    with monkeypatch.context() as patched:
        patched.setattr(target.get(call, "shorepower.files.blobs.sync_file_system"), refuse)
        with pytest.raises(StorageFault, match="what was sent cannot be kept"):
            blobs.put([pair(bytes([n]) * 10) for n in range(8)])
    assert os.listdir(blobs.root / "incoming") == []
    assert all(blobs.get(digest) for digest, _, _ in blobs.each())
    blobs.put([pair(bytes([n]) * 10) for n in range(8)])
    assert len(list(blobs.each())) == 8


def test_a_full_disk_for_real(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        store = BlobStore(small / "blobs")
        store.prepare()
        store.put([pair(os.urandom(100_000))])
        with pytest.raises(StorageFault, match="the disk is full"):
            store.put([pair(os.urandom(500_000)) for _ in range(6)])
        assert os.listdir(store.root / "incoming") == []
        assert store.put([pair(os.urandom(200_000))]) == 200_000
    finally:
        subprocess.run(["umount", small], check=True)


def test_what_dead_runs_left_is_swept(blobs: BlobStore) -> None:
    (blobs.root / "incoming" / "999-0").write_bytes(b"half")
    blobs.put([pair(b"whole")])
    BlobStore(blobs.root).prepare()
    assert os.listdir(blobs.root / "incoming") == []
    assert blobs.get(digest_of(b"whole")) == b"whole"


_KILLED = """
import os, sys
from pathlib import Path
from shorepower.files import blobs as module
from shorepower.model.tree import digest_of
left = int(sys.argv[2])
def dying(call):
    def inner(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return call(*args, **kwargs)
    return inner
class Os:
    def __getattr__(self, name):
        return getattr(os, name)
module.os = Os()
for name in ("open", "rename"):
    setattr(module.os, name, dying(getattr(os, name)))
module.sync_file_system = dying(module.sync_file_system)
store = module.BlobStore(Path(sys.argv[1]))
store.put([(digest_of(bytes([n])), bytes([n])) for n in range(6)])
print("acknowledged")
"""


@pytest.mark.parametrize("steps", range(16))
def test_killed_anywhere_no_blob_is_half(blobs: BlobStore, steps: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, blobs.root, str(steps)], capture_output=True, text=True, check=False
    )
    blobs.prepare()
    kept = {digest for digest, _, _ in blobs.each()}
    assert os.listdir(blobs.root / "incoming") == []
    assert all(digest_of(blobs.get(digest)) == digest for digest in kept)
    if "acknowledged" in done.stdout:
        assert len(kept) == 6
    else:
        assert done.returncode == -9


def test_many_at_once_put_the_same(blobs: BlobStore) -> None:
    some = [pair(os.urandom(2000)) for _ in range(50)]
    failed: list[BaseException] = []

    def put() -> None:
        try:
            blobs.put(some)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=put) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [blobs.get(digest) for digest, _ in some] == [data for _, data in some]
