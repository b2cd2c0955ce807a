"""Staging: exact, verified, whole or not at all, and never out of its folder."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shorepower.client.python.tree import runner_tree
from shorepower.files.blobs import BlobLost, BlobStore
from shorepower.files.collect import list_changes
from shorepower.files.stage import missing_objects, objects, stage
from shorepower.model.errors import InvalidRequest, StorageFault
from shorepower.model.job import Link
from shorepower.model.tree import TreeEntry, digest_of, encode_tree
from support.trees import Server, grow, seen, send_project


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path / "blobs")


def put_tree(blobs: BlobStore, *entries: TreeEntry) -> str:
    data = encode_tree(entries)
    blobs.put([(digest_of(data), data)])
    return digest_of(data)


def put_file(blobs: BlobStore, name: bytes, data: bytes, mode: int = 0o644) -> TreeEntry:
    blobs.put([(digest_of(data), data)])
    digests = (digest_of(data),) if data else ()
    return TreeEntry(name=name, kind="file", mode=mode, mtime_ns=5, size_bytes=len(data), digests=digests)


def folder(name: bytes, tree: str, mode: int = 0o755) -> TreeEntry:
    return TreeEntry(name=name, kind="dir", mode=mode, mtime_ns=7, digests=(tree,))


@pytest.mark.parametrize("seed", range(25))
def test_sent_and_staged_is_the_same(seed: int, tmp_path: Path, server: Server) -> None:
    source, work = tmp_path / "source", tmp_path / "work"
    grow(source, seed, big=seed % 5 == 0)
    work.mkdir()
    sent = send_project(source, server, tmp_path / "cache")
    stage(server.blobs, sent.tree, work / "project")
    before, after = seen(source), seen(work / "project")
    for path, entry in before.items():
        if entry.content == b"../../..":  # a link that leaves becomes absolute where the original is seen
            lead = os.path.normpath(os.path.join(os.fsencode(source), os.path.dirname(path), entry.content))
            if not (lead + b"/").startswith(os.fsencode(source) + b"/"):
                assert after[path].content == lead
                after[path] = entry
    assert after == before
    assert list_changes(server.blobs, sent.tree, work, digests=True).entries == ()
    assert missing_objects(server.blobs, sent.tree) == []


def test_staging_again_changes_nothing_and_clears_a_half_built_one(tmp_path: Path, server: Server) -> None:
    tree = put_tree(server.blobs, put_file(server.blobs, b"a", b"1"))
    project = tmp_path / "project"
    (tmp_path / "project.part" / "old").mkdir(parents=True)
    stage(server.blobs, tree, project)
    (project / "a").write_text("the job's")
    stage(server.blobs, tree, project)
    assert (project / "a").read_text() == "the job's"
    assert not (tmp_path / "project.part").exists()


def test_what_was_staged_before_the_machine_started_is_staged_anew(tmp_path: Path, server: Server) -> None:
    tree = put_tree(server.blobs, put_file(server.blobs, b"a", b"1"))
    project = tmp_path / "project"
    stage(server.blobs, tree, project)
    (project / "a").write_bytes(b"")  # what a power failure may leave
    (tmp_path / "project.staged").write_text("another start of the machine")
    stage(server.blobs, tree, project)
    assert (project / "a").read_bytes() == b"1"
    assert (tmp_path / "project.before" / "a").read_bytes() == b""


def test_a_tree_that_brings_compiled_modules_is_laid_out(tmp_path: Path, server: Server) -> None:
    """As the one that calls of functions are started in."""
    tree = runner_tree(tmp_path / "cache")
    server.blobs.put(list(tree.blobs.items()))

    stage(server.blobs, tree.root, tmp_path / "project", read_only=True)

    folder = tmp_path / "project" / ".shorepower"
    assert {path.suffix for path in (folder / "__pycache__").iterdir()} == {".pyc"}


def test_no_tree_is_an_empty_folder(tmp_path: Path, server: Server) -> None:
    link = Link(path="sub/.env", target="/home/u/.env")
    stage(server.blobs, None, tmp_path / "project", links=[link])
    assert os.readlink(tmp_path / "project" / "sub" / ".env") == "/home/u/.env"
    (tmp_path / "second").mkdir()
    stage(server.blobs, None, tmp_path / "second" / "project")
    assert os.listdir(tmp_path / "second" / "project") == []


def test_links_stand_among_sent_files_and_keep_times(tmp_path: Path, server: Server) -> None:
    inner = put_tree(server.blobs, put_file(server.blobs, b"x", b"1"))
    tree = put_tree(server.blobs, folder(b"renv", inner, 0o555))
    links = [
        Link(path="renv/library", target="/orig/renv/library"),
        Link(path="a/b/data", target="/no/such/place"),
        Link(path=".venv", target="/orig/.venv"),
    ]
    stage(server.blobs, tree, tmp_path / "project", links=links)
    project = tmp_path / "project"
    assert os.readlink(project / "renv" / "library") == "/orig/renv/library"
    assert os.readlink(project / "a" / "b" / "data") == "/no/such/place"
    assert (project / "renv").stat().st_mtime_ns == 7
    assert stat.S_IMODE((project / "renv").stat().st_mode) == 0o555
    listing = list_changes(server.blobs, tree, tmp_path, links=links, digests=True)
    assert listing.entries == () and listing.faults == ()


@pytest.mark.parametrize(
    ("path", "target", "words"),
    [
        ("../x", "/t", "not a path inside"),
        ("/x", "/t", "not a path inside"),
        ("a/../../x", "/t", "not a path inside"),
        ("a//b", "/t", "not a path inside"),
        ("", "/t", "not a path inside"),
        ("x", "relative", "absolute target"),
        ("sent", "/t", "stands where"),
        ("sent/below", "/t", "stands where"),
        ("folder", "/t", "stands where"),
    ],
)
def test_links_that_would_do_harm_are_refused(
    path: str, target: str, words: str, tmp_path: Path, server: Server
) -> None:
    inner = put_tree(server.blobs)
    tree = put_tree(server.blobs, folder(b"folder", inner), put_file(server.blobs, b"sent", b"1"))
    with pytest.raises(InvalidRequest, match=words):
        stage(server.blobs, tree, tmp_path / "project", links=[Link(path=path, target=target)])
    assert not (tmp_path / "project").exists() and not (tmp_path / "project.part").exists()


def test_links_below_links_are_refused(tmp_path: Path, server: Server) -> None:
    links = [Link(path="a", target="/t"), Link(path="a/b", target="/t")]
    for order in (links, links[::-1]):
        with pytest.raises(InvalidRequest, match="another"):
            stage(server.blobs, None, tmp_path / "project", links=order)


@pytest.mark.parametrize(
    "row",
    [
        '["..","dir",493,0,0,["D"]]',
        '[".","file",420,0,0,[]]',
        '["","file",420,0,0,[]]',
        '["a/b","file",420,0,0,[]]',
        '["/etc/x","file",420,0,0,[]]',
        '[{"b64":"Li4="},"dir",493,0,0,["D"]]',
        '["a\\u0000","file",420,0,0,[]]',
        '["a","fifo",420,0,0,[]]',
        '["a","file",2541,0,0,[]]',
        '["a","file",420,0,-1,[]]',
        '["a","file",420,0,1,[]]',
        '["a","file",420,0,1,["sha256:../../x"]]',
        '["a","file",420,99999999999999999999,0,[]]',
        '["a","link",511,0,"",[]]',
        '["a","file",420,0,0,[]],["a","file",420,0,0,[]]',
        '["b","file",420,0,0,[]],["a","file",420,0,0,[]]',
        "[1,2]",
        '"x"',
    ],
)
def test_trees_that_would_do_harm_are_refused(row: str, tmp_path: Path, server: Server) -> None:
    row = row.replace('"D"', f'"{put_tree(server.blobs)}"')
    data = f'{{"v":1,"entries":[{row}]}}'.encode()
    server.blobs.put([(digest_of(data), data)])
    with pytest.raises(InvalidRequest):
        stage(server.blobs, digest_of(data), tmp_path / "project")
    with pytest.raises(InvalidRequest):
        missing_objects(server.blobs, digest_of(data))
    assert os.listdir(tmp_path) == ["blobs"]


def test_a_tree_that_lies_about_a_size_is_refused(tmp_path: Path, server: Server) -> None:
    entry = put_file(server.blobs, b"a", b"12345")
    lie = TreeEntry(name=b"a", kind="file", mode=0o644, mtime_ns=0, size_bytes=4, digests=entry.digests)
    with pytest.raises(InvalidRequest, match="size"):
        stage(server.blobs, put_tree(server.blobs, lie), tmp_path / "project")


def test_a_tree_too_deep_is_refused(tmp_path: Path, server: Server) -> None:
    tree = put_tree(server.blobs)
    for _ in range(300):
        tree = put_tree(server.blobs, folder(b"d", tree))
    with pytest.raises(InvalidRequest, match="inside each other"):
        stage(server.blobs, tree, tmp_path / "project")
    with pytest.raises(InvalidRequest, match="inside each other"):
        missing_objects(server.blobs, tree)
    assert os.listdir(tmp_path) == ["blobs"]


def test_a_tree_that_unfolds_without_end_is_refused(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.files.stage._MOST_ENTRIES", 500)
    tree = put_tree(server.blobs)
    for _ in range(20):
        tree = put_tree(server.blobs, *(folder(name, tree) for name in (b"a", b"b")))
    with pytest.raises(InvalidRequest, match="more than 500 files"):
        stage(server.blobs, tree, tmp_path / "project")
    assert not (tmp_path / "project.part").exists()


def test_missing_and_damaged_objects_are_told(tmp_path: Path, server: Server) -> None:
    one, two = put_file(server.blobs, b"a", b"1"), put_file(server.blobs, b"b", b"2")
    inner = put_tree(server.blobs, two)
    tree = put_tree(server.blobs, one, folder(b"d", inner))
    assert list(objects(server.blobs, tree)) == [tree, one.digests[0], inner, two.digests[0]]
    assert missing_objects(server.blobs, tree) == []
    server.blobs.delete(two.digests)
    assert missing_objects(server.blobs, tree) == [two.digests[0]]
    with pytest.raises(BlobLost, match="send it again"):
        stage(server.blobs, tree, tmp_path / "project")
    server.blobs.delete([inner])
    assert missing_objects(server.blobs, tree) == [inner]
    Path(server.blobs.place(one.digests[0])).write_bytes(b"X")
    with pytest.raises(BlobLost, match="damaged"):
        stage(server.blobs, tree, tmp_path / "project")
    assert missing_objects(server.blobs, tree) == [one.digests[0], inner]
    assert os.listdir(tmp_path) == ["blobs"]


def test_a_disk_that_fills_leaves_nothing(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = put_tree(server.blobs, *(put_file(server.blobs, b"%d" % n, b"%d" % n) for n in range(5)))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("shorepower.files.stage.os.pwrite", full)
        with pytest.raises(StorageFault, match="the disk is full"):
            stage(server.blobs, tree, tmp_path / "project")
    assert os.listdir(tmp_path) == ["blobs"]
    stage(server.blobs, tree, tmp_path / "project")
    assert len(os.listdir(tmp_path / "project")) == 5


def test_giving_up_leaves_nothing(tmp_path: Path, server: Server) -> None:
    inner = put_tree(server.blobs, put_file(server.blobs, b"a", b"1"))
    tree = put_tree(server.blobs, *(folder(b"%d" % n, inner) for n in range(5)))
    calls = iter(range(100))

    def check() -> None:
        if next(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage(server.blobs, tree, tmp_path / "project", check=check)
    assert os.listdir(tmp_path) == ["blobs"]


_KILLED = """
import os, sys
from pathlib import Path
from shorepower.files import stage as module
from shorepower.files.blobs import BlobStore
left = int(sys.argv[3])
class Os:
    def __getattr__(self, name):
        found = getattr(os, name)
        if not callable(found) or name in ("fspath", "fsencode"):
            return found
        def counted(*args, **kwargs):
            global left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), 9)
            return found(*args, **kwargs)
        return counted
module.os = Os()
root = Path(sys.argv[1])
module.stage(BlobStore(root / "blobs"), sys.argv[2], root / "work" / "project")
"""


def test_killed_anywhere_it_is_whole_or_absent(tmp_path: Path, server: Server) -> None:
    inner = put_tree(server.blobs, put_file(server.blobs, b"a", b"1", 0o444))
    tree = put_tree(server.blobs, folder(b"d", inner, 0o555), put_file(server.blobs, b"b", b"2"))
    work = tmp_path / "work"
    work.mkdir()
    steps = 0
    while True:
        argv = [sys.executable, "-c", _KILLED, tmp_path, tree, str(steps)]
        ended = subprocess.run(argv, capture_output=True, check=False).returncode
        if (work / "project").exists():
            assert set(seen(work / "project")) == {b"b", b"d", b"d/a"}
        if ended == 0:
            break
        assert ended == -9
        steps += 1
    assert steps > 10
    assert sorted(os.listdir(work)) == ["project", "project.staged"]


def test_hard_links_into_the_blobs_are_never_made(tmp_path: Path, server: Server) -> None:
    entry = put_file(server.blobs, b"a", b"x" * 1_000_000)
    stage(server.blobs, put_tree(server.blobs, entry), tmp_path / "project")
    with open(tmp_path / "project" / "a", "r+b") as file:
        file.write(b"scribble")
    assert server.blobs.get(entry.digests[0]) == b"x" * 1_000_000
