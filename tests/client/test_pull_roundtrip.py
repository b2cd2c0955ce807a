"""There and back: a project goes out, a job changes it, it comes home; any names, bytes, modes, times."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shorepower.client.names import shown
from shorepower.client.pull import undo
from shorepower.model.junk import is_secret_like, junk_kind
from shorepower.model.tree import TreeEntry, decode_tree, digest_of, encode_tree
from support.home import World
from support.ordinary import as_ordinary_user, ordinary_folder
from support.trees import grow, seen


def travels(name: bytes) -> bool:
    special = name in (b".", b"..", b".gitignore", b".shoreignore", b".gitattributes")
    return not (special or junk_kind(b"", name, True) or is_secret_like(name))


names = (
    st.binary(min_size=1, max_size=12).filter(lambda name: b"/" not in name and b"\0" not in name)
    | st.sampled_from([b"a", b"A", b"b.rds", b"data", b"x y", "é".encode()])
).filter(travels)
modes = st.sampled_from([0o644, 0o600, 0o755, 0o444, 0o777, 0o640])
times = st.integers(0, 2**33 * 10**9)
files = st.tuples(st.just("file"), st.binary(max_size=60), modes, times)
links = st.tuples(
    st.just("link"), st.binary(min_size=1, max_size=20).filter(lambda target: b"\0" not in target)
)
trees = st.recursive(
    st.dictionaries(names, files | links, max_size=4),
    lambda inner: st.dictionaries(names, files | links | inner, max_size=4),
    max_leaves=12,
)


def build(folder: bytes, tree: dict) -> None:
    """Put a tree on disk, over what is there where kinds allow."""
    os.makedirs(folder, exist_ok=True)
    for name, what in tree.items():
        path = folder + b"/" + name
        if isinstance(what, dict):
            if not os.path.lexists(path) or (os.path.isdir(path) and not os.path.islink(path)):
                build(path, what)
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            continue
        if os.path.lexists(path):
            os.unlink(path)
        if what[0] == "link":
            os.symlink(what[1], path)
        else:
            with open(path, "wb") as file:
                file.write(what[1])
            os.chmod(path, what[2])
            os.utime(path, ns=(what[3], what[3]))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=trees, made=trees, edited=trees)
def test_any_tree_goes_out_and_comes_home(sent: dict, made: dict, edited: dict) -> None:
    with tempfile.TemporaryDirectory(prefix="shore-trip-") as root:
        world = World(Path(root))
        build(os.fsencode(world.home), sent)
        was_sent = contents(world)
        ran = world.submit()
        build(os.fsencode(ran.project), made)
        build(os.fsencode(world.home), edited)
        before, listed = contents(world), ran.listing()
        report = ran.pull()
        assert report.complete, report.faults
        after = contents(world)
        for path, found in before.items():
            assert after[path] == found or was_sent[path] == found
        moved, there = dict(report.beside), {}
        for path, (_, content) in after.items():
            there.setdefault(shown(path), set()).add(digest_of(content))
        for entry in listed:
            path = shown(base64.b64decode(entry.path_b64) if entry.path_b64 else entry.path)
            if entry.kind == "file":
                assert entry.digest in there.get(path, set()) | there.get(moved.get(path, ""), set())
        assert len(report.written) + len(report.beside) + len(report.unchanged) == len(listed)
        again = ran.pull()
        assert again.complete and again.written == again.beside == ()
        assert contents(world) == after
        if report.written or report.beside:
            undone = undo(ran.job.id, world.ledger)
            assert undone.faults == undone.left == ()
        assert contents(world) == before


def contents(world: World) -> dict[bytes, tuple[str, bytes]]:
    """What lies at home, but for modes and times."""
    return {path: (one.kind, one.content) for path, one in seen(world.home, folders_too=False).items()}


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, files | links | st.just(("dir",)), max_size=8))
def test_tree_objects_say_what_was_put_in(tree: dict) -> None:
    digest = "sha256:" + "ab" * 32
    entries = []
    for name, what in tree.items():
        if what[0] == "file":
            size = len(what[1])
            entries.append(
                TreeEntry(
                    name=name,
                    kind="file",
                    mode=what[2],
                    mtime_ns=what[3],
                    size_bytes=size,
                    digests=(digest,) if size else (),
                )
            )
        elif what[0] == "link":
            entries.append(TreeEntry(name=name, kind="link", mode=0o777, mtime_ns=-5, target=what[1]))
        else:
            entries.append(TreeEntry(name=name, kind="dir", mode=0o700, mtime_ns=0, digests=(digest,)))
    data = encode_tree(entries)
    assert sorted(decode_tree(data), key=lambda entry: entry.name) == sorted(
        entries, key=lambda entry: entry.name
    )
    assert encode_tree(reversed(entries)) == data == encode_tree(decode_tree(data))


@pytest.fixture
def ordinary() -> Iterator[Path]:
    with ordinary_folder() as folder:
        yield folder


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_there_and_back_as_an_ordinary_user(mask: int, ordinary: Path) -> None:
    def do() -> None:
        os.umask(mask)
        for seed in range(4):
            root = ordinary / str(seed)
            root.mkdir()
            world = World(root)
            grow(world.home, seed)
            ran = world.submit()
            grow(ran.project / "made", seed + 100, depth=2)
            expected = seen(ran.project / "made", folders_too=False)
            report = ran.pull()
            assert report.complete, report.faults
            found = seen(world.home / "made", folders_too=False)
            assert found == {
                path: entry._replace(mode=entry.mode & ~mask) for path, entry in expected.items()
            }

    as_ordinary_user(do)
