"""What came out: new and changed, whatever its name; what cannot be read is named."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shorepower.files.collect import (
    Listing,
    decode_listing,
    encode_listing,
    list_changes,
    open_result,
    read,
)
from shorepower.files.remove import remove, size_on_disk, trim
from shorepower.files.stage import stage
from shorepower.model.errors import InvalidRequest, NotFound, StorageFault
from shorepower.model.job import Link
from shorepower.model.results import FileEntry
from shorepower.model.tree import digest_of
from support.ordinary import as_ordinary_user, ordinary_folder
from support.trees import ODD_NAMES, Server, grow, seen, send_project


class Job:
    """A staged job that a test plays."""

    def __init__(self, root: Path) -> None:
        self.source, self.work, self.server = root / "source", root / "work", Server(root / "blobs")
        self.project, self.results = self.work / "project", self.work / "results"
        self.cache = root / "cache"
        self.source.mkdir()
        self.results.mkdir(parents=True)
        self.tree: str | None = None
        self.links: tuple[Link, ...] = ()

    def start(self, **files: str) -> None:
        for name, text in files.items():
            path = self.source / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.tree = send_project(self.source, self.server, self.cache).tree
        stage(self.server.blobs, self.tree, self.project, links=self.links)

    def listing(self, **more: object) -> Listing:
        options = {"digests": True, **more}
        return list_changes(self.server.blobs, self.tree, self.work, links=self.links, **options)  # type: ignore[arg-type]

    def paths(self, **more: object) -> list[str]:
        return [entry.path for entry in self.listing(**more).entries]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.fixture
def ordinary() -> Iterator[Path]:
    with ordinary_folder() as folder:
        yield folder


def path_of(entry: FileEntry) -> bytes:
    return base64.b64decode(entry.path_b64) if entry.path_b64 else entry.path.encode()


def test_new_and_changed_files_are_listed_and_nothing_else(job: Job) -> None:
    job.start(same="1", touched="2", rewritten="3", grown="4", gone="5", sub__same="6", sub__changed="7")
    os.utime(job.project / "touched", ns=(1, 1))
    (job.project / "rewritten").write_text("X")
    os.utime(job.project / "rewritten", ns=(9, (job.source / "rewritten").stat().st_mtime_ns))
    (job.project / "grown").write_text("44")
    (job.project / "gone").unlink()
    (job.project / "sub" / "changed").write_text("8")
    (job.project / "model.rds").write_bytes(b"\0" * 1000)
    (job.results / "table.csv").write_text("a,b\n")
    listing = job.listing()
    assert [(entry.area, entry.path) for entry in listing.entries] == [
        ("project", "grown"),
        ("project", "model.rds"),
        ("project", "rewritten"),
        ("project", "sub/changed"),
        ("results", "table.csv"),
    ]
    by_path = {entry.path: entry for entry in listing.entries}
    status = (job.project / "model.rds").stat()
    assert by_path["model.rds"] == FileEntry(
        path="model.rds",
        kind="file",
        mode=status.st_mode & 0o777,
        mtime_ns=status.st_mtime_ns,
        size_bytes=1000,
        digest=digest_of(b"\0" * 1000),
    )
    assert listing.faults == () and listing.size_bytes == 2 + 1000 + 1 + 1 + 4
    running = job.listing(digests=False)
    assert [entry.digest for entry in running.entries] == [""] * 5
    assert [entry.path for entry in running.entries] == [entry.path for entry in listing.entries]


def test_a_rewrite_that_keeps_size_and_time_is_seen(job: Job) -> None:
    job.start(a="one")
    before = (job.project / "a").stat()
    (job.project / "a").write_text("two")
    os.utime(job.project / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert job.paths() == ["a"]


def test_a_changed_mode_or_kind_or_link_is_a_change(job: Job) -> None:
    (job.source / "link").symlink_to("a")
    (job.source / "same").symlink_to("a")
    job.start(a="1", b="2", d__c="3")
    (job.project / "a").chmod(0o755)
    (job.project / "b").unlink()
    (job.project / "b").symlink_to("a")
    (job.project / "d" / "c").unlink()
    (job.project / "d" / "c").mkdir()
    (job.project / "link").unlink()
    (job.project / "link").symlink_to("elsewhere")
    listed = {entry.path: entry for entry in job.listing().entries}
    assert {path: entry.kind for path, entry in listed.items()} == {
        "a": "file",
        "b": "link",
        "d/c": "dir",
        "link": "link",
    }
    assert listed["a"].mode == 0o755 and listed["link"].target == "elsewhere"


def test_a_large_file_is_compared_chunk_by_chunk(job: Job) -> None:
    big = os.urandom((16 << 20) + 5)
    (job.source / "big").write_bytes(big)
    (job.source / "full").write_bytes(big[: 16 << 20])
    job.start()
    for name in ("big", "full"):
        os.utime(job.project / name, ns=(1, 1))
    assert job.paths() == []
    with open(job.project / "big", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([big[-1] ^ 1]))
    [entry] = job.listing().entries
    assert entry.digest == digest_of(big[:-1] + bytes([big[-1] ^ 1]))


def test_odd_names_come_out_as_they_are(job: Job) -> None:
    job.start()
    for name in ODD_NAMES:
        with open(os.fsencode(job.project) + b"/" + name, "wb") as file:
            file.write(name)
        os.makedirs(os.fsencode(job.project) + b"/in/" + name)
        os.symlink(b"\xff" + name[:200], os.fsencode(job.results) + b"/" + name)
    entries = job.listing().entries
    files = {path_of(entry): entry.digest for entry in entries if entry.kind == "file"}
    assert files == {name: digest_of(name) for name in ODD_NAMES}
    folders = {path_of(entry) for entry in entries if entry.kind == "dir"}
    assert folders == {b"in/" + name for name in ODD_NAMES}
    links = {
        path_of(entry): base64.b64decode(entry.target_b64) for entry in entries if entry.kind == "link"
    }
    assert links == {name: b"\xff" + name[:200] for name in ODD_NAMES}
    assert decode_listing(encode_listing(job.listing())) == job.listing()
    for name in ODD_NAMES:
        assert read(job.work, name) == name


def test_only_new_empty_folders_are_listed(job: Job) -> None:
    (job.source / "sent-empty").mkdir()
    job.start(a__b="1")
    (job.project / "a" / "b").unlink()
    (job.project / "new" / "inner").mkdir(parents=True)
    (job.project / "full").mkdir()
    (job.project / "full" / "x").write_text("1")
    (job.project / "cached" / "__pycache__").mkdir(parents=True)
    assert [(entry.kind, entry.path) for entry in job.listing().entries] == [
        ("file", "full/x"),
        ("dir", "new/inner"),
    ]


def test_junk_and_what_is_held_back_stay(job: Job) -> None:
    job.start(a="1")
    junk = "__pycache__/x.pyc .git/config new-env/pyvenv.cfg new-env/lib/x shore-results/y renv/library/z"
    junk += " .nfs000000000000001 keep/.ipynb_checkpoints/x big.tmp out/big.tmp scratch/x out/keep.csv"
    for path in junk.split():
        (job.project / path).parent.mkdir(parents=True, exist_ok=True)
        (job.project / path).write_text(path)
    os.mkfifo(job.project / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(job.project)
        server.bind("sock")
        os.chdir(before)
        (job.results / "x.tmp").write_text("mine")
        hold_back = ("*.tmp", "/scratch/", "# no line")
        assert job.paths(hold_back=hold_back) == ["out/keep.csv", "x.tmp"]


def test_globs_narrow_the_project_but_not_the_results_folder(job: Job) -> None:
    job.start(a="1")
    for path in ("a.csv", "fit/b.csv", "fit/b.rds", "plots/x/y.png", "notes.txt"):
        (job.project / path).parent.mkdir(parents=True, exist_ok=True)
        (job.project / path).write_text(path)
    (job.project / "plots" / "empty").mkdir()
    (job.project / "other" / "empty").mkdir(parents=True)
    (job.results / "notes.txt").write_text("mine")
    expected = ["a.csv", "fit/b.csv", "plots/empty", "plots/x/y.png", "notes.txt"]
    assert job.paths(results=("*.csv", "plots/")) == expected
    assert job.paths(results=("/*.csv",)) == ["a.csv", "notes.txt"]


def test_links_are_never_followed(job: Job, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    job.links = (Link(path="data", target=str(tmp_path / "outside")),)
    job.start(a="1")
    (job.project / "way").symlink_to(tmp_path / "outside")
    (job.project / "data" / "written-there").write_text("lands there")
    assert [(entry.path, entry.kind) for entry in job.listing().entries] == [("way", "link")]
    for path in (b"way/secret", b"data/secret", b"way", b"data", b"nothing", b"a/b"):
        with pytest.raises(NotFound):
            open_result(job.work, path)
    for path in (b"../work/project/a", b"/etc/passwd", b"a/../a", b"", b".", b"a\0b", b"a/"):
        with pytest.raises(InvalidRequest):
            open_result(job.work, path)
    with pytest.raises(InvalidRequest, match="no area"):
        open_result(job.work, b"a", "elsewhere")
    os.mkfifo(job.project / "pipe")
    with pytest.raises(NotFound):
        open_result(job.work, b"pipe")


def test_reading_goes_on_at_an_offset(job: Job) -> None:
    job.start()
    (job.project / "x").write_bytes(b"0123456789")
    assert read(job.work, b"x", offset=4, length=3) == b"456"
    assert read(job.work, b"x", offset=10) == b""


def test_what_cannot_be_read_is_named_and_the_rest_is_listed(ordinary: Path) -> None:
    def do() -> None:
        job = Job(ordinary)
        job.start(a="1")
        for path in ("closed/x", "open.csv", "shut.csv"):
            (job.project / path).parent.mkdir(exist_ok=True)
            (job.project / path).write_text(path)
        (job.project / "closed").chmod(0)
        (job.project / "shut.csv").chmod(0)
        listing = job.listing()
        assert [entry.path for entry in listing.entries] == ["open.csv"]
        assert [(fault.field, fault.message) for fault in listing.faults] == [
            ("closed", "could not be collected: Permission denied"),
            ("shut.csv", "could not be collected: Permission denied"),
        ]
        with pytest.raises(StorageFault, match="Permission denied"):
            read(job.work, b"shut.csv")
        assert remove(job.work) > 0
        assert not job.work.exists()

    as_ordinary_user(do)


def test_folders_without_end_become_a_fault(job: Job) -> None:
    job.start(a="1")
    here = os.open(job.project, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        above, here = here, os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(above)
    os.close(here)
    [fault] = job.listing().faults
    assert "inside each other" in fault.message
    assert remove(job.work) >= 1500
    assert not job.work.exists()


def test_too_many_files_become_a_fault(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shorepower.files.look._MOST_ENTRIES", 3)
    job.start()
    for number in range(5):
        (job.project / str(number)).write_text("x")
    listing = job.listing()
    assert len(listing.entries) == 3 and "more than 3 files" in listing.faults[0].message


def test_a_working_folder_that_is_gone_is_told(job: Job) -> None:
    job.start(a="1")
    remove(job.work)
    with pytest.raises(NotFound, match="not there any more"):
        job.listing()
    assert remove(job.work) == 0 and size_on_disk(job.work) == 0
    assert trim(job.server.blobs, job.tree, job.work) == 0


def test_a_listing_of_unknown_form_is_refused() -> None:
    for data in (b"", b"nonsense", encode_listing(Listing())[:-3]):
        with pytest.raises(ValueError, match="not a listing"):
            decode_listing(data)


def test_trimming_leaves_what_the_job_made_or_changed(job: Job) -> None:
    job.links = (Link(path="renv/library", target="/orig"), Link(path="only/link", target="/orig"))
    (job.source / "link").symlink_to("same")
    (job.source / "closed").mkdir()
    job.start(
        same="1", changed="2", mode="3", sub__deep__same="4", half__same="5", half__other="6", closed__x="7"
    )
    (job.source / "closed").chmod(0o555)
    (job.project / "closed").chmod(0o555)
    (job.project / "changed").write_text("22")
    (job.project / "mode").chmod(0o700)
    (job.project / "half" / "new").write_text("n")
    (job.project / "half" / "junk.tmp").write_text("held back, but the job's")
    listed = job.listing(hold_back=("*.tmp",))
    assert trim(job.server.blobs, job.tree, job.work, links=job.links) > 0
    left = {b"changed", b"mode", b"half", b"half/new", b"half/junk.tmp"}
    assert set(seen(job.project)) == left
    assert trim(job.server.blobs, job.tree, job.work, links=job.links) == 0
    assert [read(job.work, path_of(entry)) for entry in listed.entries if entry.kind == "file"]


@pytest.mark.parametrize("seed", range(8))
def test_trimming_an_untouched_job_leaves_nothing(seed: int, job: Job) -> None:
    grow(job.source, seed)
    job.start()
    trim(job.server.blobs, job.tree, job.work)
    assert seen(job.project) == {}


def test_removing_takes_read_only_folders_and_follows_no_link(ordinary: Path) -> None:
    def do() -> None:
        outside = ordinary / "outside"
        outside.mkdir()
        (outside / "precious").write_text("p")
        work = ordinary / "work"
        for path in ("a/b/c", "a/x/y", "none"):
            (work / path).mkdir(parents=True)
            (work / path / "f").write_text("f" * 5000)
        (work / "a" / "way").symlink_to(outside)
        os.mkfifo(work / "a" / "pipe")
        for path, mode in (("a/b/c", 0), ("a/b", 0o300), ("a/x/y", 0o555), ("a", 0o500), ("none", 0)):
            (work / path).chmod(mode)
        assert remove(work) >= 3 * 8192
        assert os.listdir(ordinary) == ["outside"] and (outside / "precious").read_text() == "p"
        (ordinary / "link").symlink_to(outside)
        remove(ordinary / "link")
        assert os.listdir(ordinary) == ["outside"]

    as_ordinary_user(do)


def test_what_resists_removal_is_named_after_the_rest_is_gone(ordinary: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs a second user")
    work = ordinary / "work"
    (work / "theirs").mkdir(parents=True)
    (work / "theirs" / "x").write_text("x")
    (work / "mine").write_text("m")
    os.chown(work, 65534, 65534)

    def do() -> None:
        with pytest.raises(StorageFault, match="theirs/x"):
            remove(work)

    as_ordinary_user(do)
    assert os.listdir(work) == ["theirs"]
