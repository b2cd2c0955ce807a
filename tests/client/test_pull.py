"""Results come home: all of it, nowhere else, and never over what is the user's."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from shorepower.client.errors import Cut
from shorepower.client.home import Target, choose_target, private_name
from shorepower.client.landing import portable_name, short_path
from shorepower.client.placing import beside_name
from shorepower.client.pull import undo
from shorepower.model.errors import Busy, InvalidRequest, NotFound, Unreachable
from shorepower.model.job import Origin
from shorepower.model.results import FileEntry
from shorepower.model.tree import digest_of
from support.home import Ran, World
from support.ordinary import as_ordinary_user, ordinary_folder
from support.trees import ODD_NAMES, grow, seen

OUTWARD = ["../x", "/etc/x", "a/../../x", "a//b", "", ".", "a/.", "x\0y"]
GIT = [".git/hooks/pre-commit", "sub/.git/config", ".GIT/config", ".g\u200cit/config", "git~1/config"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def ordinary() -> Iterator[Path]:
    with ordinary_folder() as folder:
        yield folder


def text(path: Path) -> str:
    return path.read_text()


def no_parts(folder: Path) -> bool:
    return not [path for path in seen(folder) if b".shore-" in path]


# where


def test_results_go_to_the_project_they_came_from(world: World, tmp_path: Path) -> None:
    job = world.submit().job
    assert choose_target(job, cwd=tmp_path) == Target(
        folder=world.home, at_home=True, why="the project it came from"
    )
    elsewhere = choose_target(job, cwd=tmp_path, machine="another")
    assert elsewhere.folder == tmp_path.resolve() / f"train.R-{job.id}" and not elsewhere.at_home
    assert choose_target(job, cwd=tmp_path, to=Path("out")).folder == tmp_path.resolve() / "out"
    assert choose_target(job, cwd=world.home, to=Path(".")).at_home
    world.home.rename(tmp_path / "moved")
    assert not choose_target(job, cwd=tmp_path).at_home


def test_targets_that_are_in_the_way_are_refused(world: World, tmp_path: Path) -> None:
    job = world.submit().job
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidRequest, match="that is no folder"):
        choose_target(job, cwd=tmp_path, to=Path("file"))
    (tmp_path / private_name(job)).symlink_to("/tmp")
    with pytest.raises(InvalidRequest, match="in the way"):
        choose_target(job, cwd=tmp_path, machine="another")


def test_names_of_jobs_are_names_of_folders_anywhere(world: World) -> None:
    for name in ("../../etc", "a/b", "x\ny", "...", "é" * 300, "con:", ""):
        job = Ran(world, 1, name).job
        folder = private_name(job)
        assert "/" not in folder and "\n" not in folder and len(folder.encode()) <= 255
        assert folder.strip(" .") == folder and folder.endswith(job.id)


# the ordinary way


def test_new_and_changed_files_come_home(world: World) -> None:
    world.write(train_dot_R="code", data__a_dot_csv="1")
    ran = world.submit()
    ran.write(fit_dot_rds="model", data__a_dot_csv="2", plots__p_dot_png="png")
    (ran.project / "fit.rds").chmod(0o640)
    os.utime(ran.project / "fit.rds", ns=(1, 1_700_000_000_123_456_789))
    (ran.results / "deep").mkdir()
    (ran.results / "deep" / "t.csv").write_text("t")
    report = ran.pull()
    own = f"shore-results/train.R-{ran.job.id}/deep/t.csv"
    assert set(report.written) == {"fit.rds", "data/a.csv", "plots/p.png", own}
    assert report.complete and report.size_bytes == 5 + 1 + 3 + 1 and report.beside == ()
    assert text(world.home / "data" / "a.csv") == "2" and text(world.home / own) == "t"
    status = (world.home / "fit.rds").stat()
    assert status.st_mtime_ns == 1_700_000_000_123_456_789
    assert stat.S_IMODE(status.st_mode) == 0o640 & ~_umask()
    again = ran.pull()
    assert set(again.unchanged) == set(report.written) and again.size_bytes == 0
    assert no_parts(world.home)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_umask_of_the_user_counts(world: World) -> None:
    ran = world.submit()
    ran.write(a="1", sub__b="2")
    (ran.project / "a").chmod(0o777)
    before = os.umask(0o077)
    try:
        ran.pull()
    finally:
        os.umask(before)
    assert stat.S_IMODE((world.home / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((world.home / "sub").stat().st_mode) == 0o700


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_permissions_that_a_job_changed_come_home_alone(world: World) -> None:
    world.write(build_dot_sh="echo", secret="s", same="x")
    for name, mode in (("build.sh", 0o644), ("secret", 0o644), ("same", 0o600)):
        (world.home / name).chmod(mode)
    before = seen(world.home)
    ran = world.submit()
    (ran.project / "build.sh").chmod(0o755)
    (ran.project / "secret").chmod(0o600)
    report = ran.pull()
    assert set(report.written) == {"build.sh", "secret"} and report.complete and report.size_bytes == 0
    assert mode_of(world.home / "build.sh") == 0o644 | 0o111 & ~_umask()
    assert (mode_of(world.home / "secret"), mode_of(world.home / "same")) == (0o600, 0o600)
    assert text(world.home / "build.sh") == "echo"
    assert ran.pull().written == ()
    undone = undo(ran.job.id, world.ledger)
    assert set(undone.written) == {"build.sh", "secret"} and undone.left == undone.faults == ()
    assert seen(world.home) == before


def test_permissions_of_the_user_are_kept(world: World) -> None:
    world.write(run="echo", made_here="same")
    (world.home / "run").chmod(0o644)
    ran = world.submit()
    (ran.project / "run").chmod(0o755)
    ran.write(fit="model", other="same")
    (world.home / "run").chmod(0o600)
    world.write(other="same")
    (world.home / "other").chmod(0o600)
    ran.pull()
    assert mode_of(world.home / "run") == 0o600 | 0o111 & ~_umask(), "what the job added, and no more"
    assert mode_of(world.home / "other") == 0o600, "it never was ours"
    (world.home / "run").chmod(0o644)
    (world.home / "fit").chmod(0o400)
    (ran.project / "fit").chmod(0o755)
    assert ran.pull().written == ()
    assert (mode_of(world.home / "run"), mode_of(world.home / "fit")) == (0o644, 0o400)
    undone = undo(ran.job.id, world.ledger)
    assert ("run", 0, "its permissions were changed since") in undone.left


def test_permissions_that_change_after_a_pull_come_with_the_next(world: World) -> None:
    ran = world.submit()
    ran.write(tool="echo")
    (ran.project / "tool").chmod(0o644)
    ran.pull()
    (ran.project / "tool").chmod(0o755)
    assert ran.pull().written == ("tool",)
    assert mode_of(world.home / "tool") == 0o755 & ~_umask()
    assert undo(ran.job.id, world.ledger).written == ("tool", "tool")
    assert not (world.home / "tool").exists()


def test_permissions_do_not_make_a_file_ours(world: World) -> None:
    """What was sent with one job and had its permissions changed is the user's for another."""
    world.write(run="echo")
    (world.home / "run").chmod(0o644)
    first = world.submit()
    (first.project / "run").chmod(0o755)
    first.pull()
    world.write(run="edited")
    second = world.submit()
    world.write(run="echo")
    second.write(run="job")
    report = second.pull()
    assert text(world.home / "run") == "echo" and len(report.beside) == 1


def test_a_users_file_is_never_overwritten(world: World) -> None:
    world.write(model_dot_rds="sent", untouched="sent")
    ran = world.submit()
    ran.write(model_dot_rds="from the job", untouched="from the job", new_dot_csv="from the job")
    world.write(model_dot_rds="edited since", new_dot_csv="made since")
    report = ran.pull()
    assert text(world.home / "model.rds") == "edited since"
    assert text(world.home / f"model.{ran.job.id}.rds") == "from the job"
    assert text(world.home / f"new.{ran.job.id}.csv") == "from the job"
    assert text(world.home / "untouched") == "from the job"
    assert set(report.beside) == {
        ("model.rds", f"model.{ran.job.id}.rds"),
        ("new.csv", f"new.{ran.job.id}.csv"),
    }
    assert set(ran.pull().unchanged) == {f"model.{ran.job.id}.rds", f"new.{ran.job.id}.csv", "untouched"}
    world.write(**{f"model_dot_{ran.job.id}_dot_rds": "edited too"})
    assert ran.pull().beside == (("model.rds", f"model.{ran.job.id}.2.rds"),)
    assert text(world.home / f"model.{ran.job.id}.rds") == "edited too"


def test_what_was_put_beside_is_not_sent_again(world: World) -> None:
    world.write(model_dot_rds="1")
    ran = world.submit()
    ran.write(model_dot_rds="2")
    world.write(model_dot_rds="3")
    ran.pull()
    second = world.submit()
    assert set(seen(second.project)) == {b"model.rds"}


def test_a_file_equal_to_the_incoming_one_is_left_as_it_is(world: World) -> None:
    ran = world.submit()
    ran.write(a="same")
    world.write(a="same")
    before = (world.home / "a").stat().st_mtime_ns
    assert ran.pull().unchanged == ("a",)
    assert (world.home / "a").stat().st_mtime_ns == before


def test_among_our_own_the_later_submitted_job_wins(world: World) -> None:
    world.write(train_dot_R="code")
    first, second = world.submit(), world.submit()
    first.write(fit="first", only="first")
    second.write(fit="second")
    assert second.pull().written == ("fit",)
    report = first.pull()
    assert text(world.home / "fit") == "second" and text(world.home / "only") == "first"
    assert report.left == (("fit", 5, f"the result of job {second.job.id}, submitted later, is there"),)
    assert report.complete
    third = world.submit()
    third.write(fit="third")
    assert third.pull().written == ("fit",) and text(world.home / "fit") == "third"


def test_in_order_each_replaces_the_one_before(world: World) -> None:
    for number in range(3):
        ran = world.submit()
        ran.write(fit=f"result {number}")
        assert ran.pull().written == ("fit",)
    assert text(world.home / "fit") == "result 2"


def test_a_pulled_file_that_was_edited_is_the_users(world: World) -> None:
    first = world.submit()
    first.write(fit="first")
    first.pull()
    world.write(fit="edited")
    second = world.submit()
    second.write(fit="second")
    world.write(fit="edited again")
    assert second.pull().beside == (("fit", f"fit.{second.job.id}"),)
    assert text(world.home / "fit") == "edited again"


def test_without_the_snapshot_what_was_sent_counts_as_the_users(world: World) -> None:
    world.write(a="sent")
    ran = world.submit()
    ran.write(a="new")
    entries = ran.listing()
    world.server.blobs.delete([str(ran.tree)])
    assert ran.pull(entries=entries).beside == (("a", f"a.{ran.job.id}"),)


def test_a_large_sent_file_is_known_by_its_chunks(world: World) -> None:
    big = os.urandom((16 << 20) + 100)
    (world.home / "big").write_bytes(big)
    (world.home / "big2").write_bytes(big)
    ran = world.submit()
    (ran.project / "big").write_bytes(big[::-1])
    (ran.project / "big2").write_bytes(big[::-1])
    (world.home / "big2").write_bytes(big[:-1] + b"!")
    report = ran.pull()
    assert report.written == ("big",) and report.beside == (("big2", f"big2.{ran.job.id}"),)
    assert (world.home / "big").read_bytes() == big[::-1]


def test_a_notebook_that_ran_comes_home_beside(world: World) -> None:
    world.write(sub__x_dot_ipynb="cells", other_dot_ipynb="cells")
    ran = world.submit()
    ran.write(sub__x_dot_ipynb="cells with output", other_dot_ipynb="changed")
    report = ran.pull(script="sub/../sub/x.ipynb")
    assert text(world.home / "sub" / "x.ipynb") == "cells"
    assert text(world.home / "sub" / f"x.{ran.job.id}.ipynb") == "cells with output"
    assert report.written == ("other.ipynb",)
    assert report.beside == (("sub/x.ipynb", f"sub/x.{ran.job.id}.ipynb"),)


def test_elsewhere_all_of_it_goes_into_a_folder_of_its_own(world: World, tmp_path: Path) -> None:
    world.write(a="1")
    ran = world.submit(name="my job")
    ran.write(a="2", sub__b="3")
    other = tmp_path / "other"
    other.mkdir()
    target = choose_target(ran.job, cwd=other, machine="another")
    ran.pull(target=target)
    files = seen(other, folders_too=False)
    assert set(files) == {f"my job-{ran.job.id}/{name}".encode() for name in ("a", "sub/b")}
    ran.pull(to=tmp_path / "named" / "deep")
    assert set(seen(tmp_path / "named", folders_too=False)) == {b"deep/a", b"deep/sub/b"}


# what is asked for


def test_globs_choose(world: World) -> None:
    ran = world.submit()
    ran.write(a_dot_csv="1", sub__b_dot_csv="2", c_dot_rds="3")
    (ran.results / "d.csv").write_text("4")
    own = f"shore-results/train.R-{ran.job.id}/d.csv"
    assert set(ran.pull(globs=["/a.csv", "sub/"]).written) == {"a.csv", "sub/b.csv"}
    assert set(ran.pull(globs=["*.csv"]).written) == {own}
    nothing = ran.pull(globs=["*.png", "x\n"])
    assert nothing.faults == (f"nothing fits *.png, x\\n: there is a.csv, c.rds, sub/b.csv, {own}",)
    assert not nothing.complete
    assert ran.pull(entries=[], globs=["*"]).faults == ("nothing fits *: nothing came out",)
    assert set(ran.pull(globs=["shore-results/"]).unchanged) == {own}
    assert set(ran.pull().written) == {"c.rds"}


def test_a_limit_leaves_the_large_ones_and_says_so(world: World) -> None:
    ran = world.submit()
    ran.write(small="1" * 10, middle="2" * 60, large="3" * 1000, tiny="4")
    report = ran.pull(limit_bytes=75)
    assert set(report.written) == {"tiny", "small", "middle"}
    assert report.left == (("large", 1000, "over the limit"),) and not report.complete
    assert set(ran.pull(globs=["large"]).written) == {"large"}


def test_a_running_job_gives_what_is_there(world: World) -> None:
    ran = world.submit()
    ran.write(log="one\n")
    entries = ran.listing(running=True)
    ran.write(log="one\ntwo\n")
    assert ran.pull(entries=entries).written == ("log",)
    assert text(world.home / "log") == "one\ntwo\n"
    ran.write(log="one\ntwo\nthree\n")
    assert ran.pull(entries=ran.listing(running=True)).written == ("log",)
    (ran.project / "log").unlink()
    report = ran.pull(entries=entries)
    assert "log: there is no file" in report.faults[0] and not report.complete
    assert text(world.home / "log") == "one\ntwo\nthree\n"


# odd names and kinds


def test_odd_names_come_home_as_they_are(world: World) -> None:
    ran = world.submit()
    for name in ODD_NAMES:
        with open(os.fsencode(ran.project) + b"/" + name, "wb") as file:
            file.write(name)
        os.makedirs(os.fsencode(ran.project) + b"/in/" + name + b"/empty")
        os.symlink(b"\xff" + name[:100], os.fsencode(ran.results) + b"/" + name)
    report = ran.pull()
    assert report.complete and report.beside == ()
    found = seen(world.home)
    assert {path: entry.content for path, entry in found.items() if path in ODD_NAMES} == {
        name: name for name in ODD_NAMES
    }
    assert {b"in/" + name + b"/empty" for name in ODD_NAMES} <= set(found)
    links = {entry.content for entry in found.values() if entry.kind == "link"}
    assert links == {b"\xff" + name[:100] for name in ODD_NAMES}
    assert all(path.isprintable() for path in report.written)
    again = ran.pull()
    assert again.written == () and len(again.unchanged) == len(report.written)
    assert no_parts(world.home)


@pytest.mark.parametrize("has_dir_fd", [True, False])
def test_links_come_home_as_links_and_are_never_written_through(
    has_dir_fd: bool, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.client.landing._HAS_DIR_FD", has_dir_fd)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    world.write(dir__x="1", file="1")
    ran = world.submit()
    ran.write(dir__x="2", dir__y="new", file="2", precious="3", deep__down__z="4")
    (ran.project / "out").symlink_to(outside)
    for name, target in (
        ("dir", outside),
        ("file", outside / "precious"),
        ("precious", outside / "precious"),
    ):
        place = world.home / name
        if place.is_dir():
            (place / "x").unlink()
            place.rmdir()
        else:
            place.unlink(missing_ok=True)
        place.symlink_to(target)
    (world.home / "deep").symlink_to(outside)
    report = ran.pull()
    assert seen(outside) == {b"precious": seen(outside)[b"precious"]}
    assert text(outside / "precious") == "precious"
    job = ran.job.id
    assert dict(report.beside) == {
        "dir/x": f"dir.{job}/x",
        "dir/y": f"dir.{job}/y",
        "file": f"file.{job}",
        "precious": f"precious.{job}",
        "deep/down/z": f"deep.{job}/down/z",
    }
    assert text(world.home / f"dir.{job}" / "x") == "2"
    assert os.readlink(world.home / "out") == str(outside) and report.written == ("out",)
    assert len(ran.pull().unchanged) == 6


def test_a_link_among_the_results_is_no_way_out(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    ran = world.submit()
    ran.write(real__x="payload")
    [real] = ran.listing()
    entries = [
        FileEntry(path="way", kind="link", target=str(outside)),
        FileEntry(path="way/x", kind="file", size_bytes=7, digest=real.digest, mode=0o644),
    ]

    def fetch(_: object) -> Iterator[tuple[dict[str, object], bytes]]:
        yield {"path": "way/x", "area": "project", "offset": 0, "eof": True}, b"payload"

    for order in (entries, entries[::-1]):
        report = ran.pull(entries=order, fetch=fetch)
        assert report.complete
    assert os.listdir(outside) == []


@pytest.mark.parametrize(
    "path",
    [*OUTWARD, "shore-results/other/x", "__pycache__/x.pyc", *GIT],
)
def test_paths_that_would_do_harm_are_named_and_not_written(path: str, world: World) -> None:
    ran = world.submit()
    entries = [FileEntry(path=path, kind="file", size_bytes=1, digest=digest_of(b"x"))]
    before = seen(world.root)
    report = ran.pull(entries=entries)
    assert len(report.faults) == 1 and "not written" in report.faults[0] and not report.complete
    after = {path: entry for path, entry in seen(world.root).items() if not path.startswith(b"state")}
    assert after == before


def test_files_and_folders_that_trade_places(world: World) -> None:
    world.write(a__inner="1", b="2")
    ran = world.submit()
    (ran.project / "a" / "inner").unlink()
    (ran.project / "a").rmdir()
    (ran.project / "b").unlink()
    ran.write(a="now a file", b__inner="now a folder")
    (ran.project / "empty" / "er").mkdir(parents=True)
    report = ran.pull()
    job = ran.job.id
    assert dict(report.beside) == {"a": f"a.{job}", "b/inner": f"b.{job}/inner"}
    assert report.written == ("empty/er",)
    assert text(world.home / "a" / "inner") == "1" and text(world.home / "b") == "2"


def test_case_twins_both_come_home_where_case_counts_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that tells no case apart is played by giving both the same name."""
    ran = world.submit()
    ran.write(Fit="upper", fit="lower")
    monkeypatch.setattr("shorepower.client.placing.portable_name", lambda name, system: name.lower())
    report = ran.pull()
    lower, upper = text(world.home / "fit"), text(world.home / f"fit.{ran.job.id}")
    assert {lower, upper} == {"upper", "lower"}
    assert len(report.written) + len(report.beside) == 2 and report.complete


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("plain.csv", "plain.csv"),
        ('a<b>c:d"e|f?g*h\\i', "a_b_c_d_e_f_g_h_i"),
        ("line\nbreak", "line_break"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("lpt1.tar.gz", "_lpt1.tar.gz"),
        ("trail. ", "trail__"),
        ("...", "___"),
        (os.fsdecode(b"\xff.csv"), "%xff.csv"),
    ],
)
def test_names_that_a_system_cannot_hold(name: str, windows: str) -> None:
    assert portable_name(name, "nt") == windows
    assert portable_name(name, "posix") == name
    assert portable_name(name, "darwin") == (windows if "\udcff" in name else name)


def test_names_that_are_too_long_become_short() -> None:
    assert len(short_path("x" * 250 + ".csv")) <= 120 and short_path("a/" + "x" * 250).startswith("a/xxx")
    assert short_path("é" * 125) != short_path("é" * 124)
    assert len(beside_name("y" * 255, "jobabcdefgha", 1).encode()) <= 255
    assert beside_name("." + "y" * 254, "jobabcdefgha", 1) != beside_name(
        "." + "y" * 254, "jobabcdefgha", 2
    )


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG])
def test_names_that_the_file_system_refuses_are_changed_and_said(
    number: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that refuses colons, as FAT does, played in front of a real one."""
    ran = world.submit()
    ran.write(**{"a:b": "1", "plain": "2", "d:r__x": "3"})
    entries = ran.listing()
    pieces = {"a:b": b"1", "plain": b"2", "d:r/x": b"3"}

    def fetch(wanted: Sequence[Mapping[str, Any]]) -> Iterator[tuple[dict[str, object], bytes]]:
        for one in wanted:
            yield {**one, "eof": True}, pieces[one["path"]]

    refuse(monkeypatch, number)
    report = ran.pull(entries=entries, fetch=fetch)
    monkeypatch.undo()
    assert report.faults == () and report.written == ("plain",)
    assert set(report.beside) == {("a:b", "a_b"), ("d:r/x", "d_r/x")}
    assert text(world.home / "a_b") == "1" and text(world.home / "d_r" / "x") == "3"


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    for name in ("stat", "mkdir", "link", "open"):
        real = getattr(os, name)

        def refusing(*args: Any, real: Callable[..., Any] = real, **more: Any) -> Any:
            if any(isinstance(arg, str) and ":" in arg for arg in args):
                raise OSError(number, os.strerror(number))
            return real(*args, **more)

        monkeypatch.setattr(f"shorepower.client.landing.os.{name}", refusing)


# breaking off and going on


def test_a_pull_that_breaks_off_goes_on_where_it_was(world: World) -> None:
    ran = world.submit()
    (ran.project / "big").write_bytes(os.urandom(5 << 20))
    ran.write(small="s", other="o")

    def cut(entries: object) -> Iterator[object]:
        received = 0
        for header, data in ran.fetch(entries):  # type: ignore[arg-type]
            received += len(data)
            if received > 3 << 20:
                raise Unreachable("the line broke")
            yield header, data

    with pytest.raises(Unreachable):
        ran.pull(fetch=cut)
    assert text(world.home / "small") == "s" and not (world.home / "big").exists()
    [part] = [path for path in seen(world.home) if b".shore-" in path]
    assert set(seen(world.submit().project)) == {b"small", b"other"}
    ran.fetched.clear()
    report = ran.pull()
    assert report.written == ("big",) and set(report.unchanged) == {"small", "other"}
    assert [path for path, _ in ran.fetched] == ["big"] and ran.fetched[0][1] > 1 << 20
    assert (world.home / "big").read_bytes() == (ran.project / "big").read_bytes()
    assert part and no_parts(world.home)


def test_a_pull_goes_on_by_itself_where_the_connection_was_cut(world: World) -> None:
    ran = world.submit()
    (ran.project / "big").write_bytes(os.urandom(5 << 20))
    ran.write(small="s", other="o")

    def cut(entries: object) -> Iterator[object]:
        received = 0
        for header, data in ran.fetch(entries):  # type: ignore[arg-type]
            yield header, data
            received += len(data)
            if received > 1 << 20:
                raise Cut("the connection was cut")

    report = ran.pull(fetch=cut)
    assert set(report.written) == {"small", "other", "big"} and report.complete
    assert (world.home / "big").read_bytes() == (ran.project / "big").read_bytes()
    assert no_parts(world.home)


def test_a_connection_that_is_cut_again_and_again_is_not_tried_for_ever(world: World) -> None:
    ran = world.submit()
    ran.write(a="1")

    def cut(_: object) -> Iterator[object]:
        raise Cut("the connection was cut")
        yield

    with pytest.raises(Cut):
        ran.pull(fetch=cut)


def test_a_part_with_other_content_is_thrown_away(world: World) -> None:
    ran = world.submit()
    (ran.project / "big").write_bytes(os.urandom(3 << 20))

    def cut(entries: object) -> Iterator[object]:
        received = 0
        for header, data in ran.fetch(entries):  # type: ignore[arg-type]
            received += len(data)
            if received > 2 << 20:
                raise Unreachable("the line broke")
            yield header, data

    with pytest.raises(Unreachable):
        ran.pull(fetch=cut)
    for path in seen(world.home):
        if b".shore-" in path:
            Path(os.fsdecode(os.fsencode(world.home) + b"/" + path)).write_bytes(b"?" * (2 << 20))
    assert ran.pull().written == ("big",)
    assert (world.home / "big").read_bytes() == (ran.project / "big").read_bytes()


def test_a_server_that_sends_the_wrong_bytes_is_told_of(world: World) -> None:
    ran = world.submit()
    ran.write(a="right", b="fine")

    def wrong(entries: object) -> Iterator[object]:
        for header, data in ran.fetch(entries):  # type: ignore[arg-type]
            yield header, b"wrong" if header["path"] == "a" else data

    report = ran.pull(fetch=wrong)
    assert report.faults == ("a: what arrives is not what was listed",) and report.written == ("b",)
    assert not (world.home / "a").exists() and no_parts(world.home)


def test_a_server_that_sends_nothing_is_not_asked_for_ever(world: World) -> None:
    ran = world.submit()
    ran.write(a="1", b="2")
    report = ran.pull(fetch=lambda _: iter(()))
    assert sorted(report.faults) == [f"{name}: the server sends nothing of it" for name in "ab"]


def test_a_file_that_appears_while_it_is_fetched_is_the_users(world: World) -> None:
    world.write(sent="sent")
    ran = world.submit()
    ran.write(new="job's", sent="job's")

    def fetch(entries: object) -> Iterator[object]:
        world.write(new="the user's", sent="the user's")
        yield from ran.fetch(entries)  # type: ignore[arg-type]

    report = ran.pull(fetch=fetch)
    assert text(world.home / "new") == text(world.home / "sent") == "the user's"
    assert {wished for wished, _ in report.beside} == {"new", "sent"} and report.written == ()


_KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import support.home as support
world = support.World.__new__(support.World)
world.root = Path(sys.argv[1]); world.home = world.root / "analysis"
world.server = support.Server(world.root / "blobs")
world.ledger = support.Ledger(world.root / "state" / "client")
ran = support.Ran(world, 1, "train.R")
ran.tree = sys.argv[4]
left = int(sys.argv[2])
class Os:
    def __getattr__(self, name):
        found = getattr(os, name)
        if name not in ("open", "link", "replace", "unlink", "write", "chmod", "utime", "mkdir", "symlink"):
            return found
        def counted(*args, **kwargs):
            global left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), 9)
            return found(*args, **kwargs)
        return counted
import shorepower.client.landing as landing, shorepower.client.incoming as incoming
import shorepower.client.ledger as ledger
landing.os = incoming.os = ledger.os = Os()
landing.os.supports_dir_fd = os.supports_dir_fd
landing.os.supports_follow_symlinks = os.supports_follow_symlinks
ran.pull()
"""


def test_killed_anywhere_the_next_pull_makes_it_whole(tmp_path: Path) -> None:
    steps = 0
    while True:
        root = tmp_path / str(steps)
        root.mkdir()
        world = World(root)
        world.write(sent="sent", user="sent")
        ran = world.submit()
        ran.write(sent="result", user="result", sub__new="result")
        (ran.project / "link").symlink_to("sent")
        world.write(user="edited")
        argv = [
            sys.executable,
            "-c",
            _KILLED,
            root,
            str(steps),
            str(Path(__file__).parents[1]),
            str(ran.tree),
        ]
        ended = subprocess.run(argv, capture_output=True, check=False)
        assert text(world.home / "user") == "edited"
        assert text(world.home / "sent") in ("sent", "result")
        report = ran.pull()
        assert report.complete, report.faults
        found = {path: entry.content for path, entry in seen(world.home, folders_too=False).items()}
        assert found == {
            b"sent": b"result",
            b"user": b"edited",
            f"user.{ran.job.id}".encode(): b"result",
            b"sub/new": b"result",
            b"link": b"sent",
        }
        undo(ran.job.id, world.ledger)
        assert {path: entry.content for path, entry in seen(world.home, folders_too=False).items()} == {
            b"sent": b"sent",
            b"user": b"edited",
        }
        if ended.returncode == 0:
            break
        assert ended.returncode == -9, ended.stderr
        steps += 1
    assert steps > 20


# the machine


def test_a_folder_that_cannot_be_written_is_told_file_by_file(ordinary: Path) -> None:
    def do() -> None:
        world = World(ordinary)
        world.write(closed__x="1", open__x="1")
        ran = world.submit()
        ran.write(closed__x="2", closed__y="2", open__x="2")
        (world.home / "closed").chmod(0o555)
        report = ran.pull()
        assert report.written == ("open/x",)
        assert sorted(report.faults) == ["closed/x: Permission denied", "closed/y: Permission denied"]
        (world.home / "closed").chmod(0o755)
        assert ran.pull().complete
        world.home.chmod(0o555)
        with pytest.raises(InvalidRequest, match="cannot go to"):
            ran.pull(to=world.home / "new")
        world.home.chmod(0o755)

    as_ordinary_user(do)


def test_a_full_disk_stops_and_says_what_is_left(world: World, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system here")
    try:
        ran = world.submit()
        for number, size in enumerate((100_000, 300_000, 2_000_000, 3_000_000)):
            (ran.project / str(number)).write_bytes(os.urandom(size))
        report = ran.pull(to=small)
        assert set(report.written) == {"0", "1"} and not report.complete
        assert "No space left" in report.faults[0]
        assert {path for path, _, _ in report.left} == {"2", "3"}
    finally:
        subprocess.run(["umount", small], check=True)


def test_two_pulls_into_one_folder_wait_for_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.client.ledger._LOCK_WAIT_S", 0.0)
    ran = world.submit()
    ran.write(a="1")
    with world.ledger.book(world.home), pytest.raises(Busy, match="another pull into"):
        ran.pull()
    assert ran.pull().written == ("a",)


# undoing


def test_undo_puts_back_what_was_there(world: World) -> None:
    world.write(sent="sent", sub__kept="kept")
    (world.home / "link").symlink_to("sent")
    os.utime(world.home / "sent", ns=(5, 5))
    (world.home / "sent").chmod(0o604)
    before = seen(world.home)
    ran = world.submit()
    ran.write(sent="job", new="job", sub__deep__er="job", user="job")
    (ran.project / "link").unlink()
    (ran.project / "link").symlink_to("new")
    (ran.project / "empty").mkdir()
    world.write(user="mine")
    report = ran.pull()
    assert report.complete and len(report.written) == 5
    ran.write(sent="job again")
    ran.pull()
    undone = undo(ran.job.id, world.ledger)
    assert undone.left == () and undone.faults == ()
    after = seen(world.home)
    assert after.pop(b"user").content == b"mine"
    for path in (b"sub",):
        after.pop(path), before.pop(path)
    assert after == before
    with pytest.raises(NotFound, match="no pull of"):
        undo(ran.job.id, world.ledger)


def test_undo_leaves_what_was_changed_since(world: World) -> None:
    world.write(a="sent", b="sent")
    first = world.submit()
    first.write(a="first", b="first", c="first", d="first")
    first.pull()
    second = world.submit()
    second.write(b="second")
    second.pull()
    world.write(a="edited", new="x")
    (world.home / "d").unlink()
    undone = undo(first.job.id, world.ledger)
    assert set(undone.left) == {("a", 0, "changed since"), ("b", 0, f"job {second.job.id} wrote it since")}
    assert set(undone.written) == {"c", "d"}
    assert text(world.home / "a") == "edited" and text(world.home / "b") == "second"
    assert undo(second.job.id, world.ledger).written == ("b",)
    assert text(world.home / "b") == "first"
    assert undo(first.job.id, world.ledger).written == ("b",) and text(world.home / "b") == "sent"


def test_undo_goes_through_all_folders_and_survives_one_that_is_gone(world: World, tmp_path: Path) -> None:
    ran = world.submit()
    ran.write(a="1")
    for folder in ("one", "two", "gone"):
        ran.pull(to=tmp_path / folder)
    (tmp_path / "gone" / "a").unlink()
    (tmp_path / "gone").rmdir()
    report = undo(ran.job.id, world.ledger)
    assert len(report.written) == 2 and "is not there" in report.faults[0]
    assert not (tmp_path / "one" / "a").exists() and not (tmp_path / "two" / "a").exists()


def test_a_lost_or_damaged_ledger_only_makes_more_the_users(world: World) -> None:
    first = world.submit()
    first.write(a="first")
    first.pull()
    [book] = (world.root / "state" / "client" / "pulls").glob("*.jsonl")
    book.write_bytes(book.read_bytes()[:-20] + b"\xff{nonsense")
    second = world.submit()
    second.write(a="second")
    world.write(a="first")
    report = second.pull()
    assert report.complete and (report.beside or report.written)
    third = world.submit()
    third.write(z="third")
    assert third.pull().written == ("z",)
    assert undo(third.job.id, world.ledger).written == ("z",)


def test_the_ledger_is_kept_short_and_the_undo_folder_small(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.client.ledger._COMPACT_BYTES", 2000)
    monkeypatch.setattr("shorepower.client.ledger._COMPACT_LINES", 5)
    monkeypatch.setattr("shorepower.client.ledger.UNDO_MOST_BYTES", 15)
    for number in range(8):
        world.write(**{f"f{n}": f"sent {number}" for n in range(3)})
        ran = world.submit()
        ran.write(**{f"f{n}": f"job {number}" for n in range(3)})
        assert len(ran.pull().written) == 3
    [book] = (world.root / "state" / "client" / "pulls").glob("*.jsonl")
    assert book.stat().st_size < 4000
    kept = [file for file in (world.root / "state" / "client" / "undo").rglob("*") if file.is_file()]
    assert len(kept) <= 6
    assert len(undo(ran.job.id, world.ledger).written) == 3


# all together


@pytest.mark.parametrize("seed", range(12))
def test_round_trip_of_random_trees(
    seed: int, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shorepower.client.landing._HAS_DIR_FD", seed % 4 != 3)  # else as on Windows
    grow(world.home, seed)
    ran = world.submit()
    made = tmp_path / "made"
    grow(made, seed + 500, depth=2)
    subprocess.run(["cp", "-a", f"{made}/.", str(ran.project / "made")], check=True)
    subprocess.run(["cp", "-a", f"{made}/.", f"{ran.results}"], check=True)
    report = ran.pull()
    assert report.complete and report.beside == ()
    mask = _umask()
    own = world.home / "shore-results" / f"train.R-{ran.job.id}"
    for place in (world.home / "made", own):
        expected = {p: e._replace(mode=e.mode & ~mask) for p, e in seen(made, folders_too=False).items()}
        assert seen(place, folders_too=False) == expected
        assert {p for p, e in seen(made).items() if e.kind == "dir"} == {
            p for p, e in seen(place).items() if e.kind == "dir"
        }
    undo(ran.job.id, world.ledger)
    assert not (world.home / "made").exists() and not (world.home / "shore-results").exists()


def test_a_job_of_another_machine_with_the_same_folder_is_not_at_home(world: World) -> None:
    ran = world.submit()
    ran.job = replace(ran.job, origin=Origin(host="other", directory=str(world.home)))
    ran.write(a="1")
    assert ran.pull().folder == world.home / f"train.R-{ran.job.id}"
