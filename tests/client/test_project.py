"""What a project is, and what of it is sent, linked and left."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shorepower.client.options import parse_size
from shorepower.client.project import (
    Data,
    FoundProject,
    Limits,
    ProjectTooLarge,
    ProjectView,
    find_project,
    look_over,
)
from shorepower.client.view import Folder
from shorepower.model.errors import InvalidRequest
from shorepower.model.job import Link
from support.ordinary import as_ordinary_user, ordinary_folder

KIB = 1024


def make(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not file.endswith("/"):
            path.write_text(file)
        else:
            path.mkdir()


def git(folder: Path, *argv: str) -> None:
    subprocess.run(
        ["git", "-c", "protocol.file.allow=always", *argv], cwd=folder, check=True, capture_output=True
    )


def commit(folder: Path) -> None:
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "m")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    return home


@pytest.fixture
def ordinary() -> Iterator[Path]:
    with ordinary_folder() as folder:
        yield folder


def look(root: Path, *, here: bool = True, **more: object) -> ProjectView:
    found = FoundProject(root=root, cwd=root, why="")
    return look_over(found, here=here, **more)  # type: ignore[arg-type]


def paths(view: ProjectView) -> set[str]:
    return {path for path, _ in view.files()}


def folders(folder: Folder, prefix: str = "") -> set[str]:
    found = set()
    for one in folder.folders:
        path = prefix + os.fsdecode(one.name)
        found |= {path, *folders(one, path + "/")}
    return found


# which folder it is


@pytest.mark.parametrize("marker", ["shore.toml", "x.Rproj", "renv.lock", "pyproject.toml", ".git/HEAD"])
def test_the_nearest_marker_above_makes_the_project(marker: str, home: Path) -> None:
    project = home / "work" / "analysis"
    make(home / "work", "pyproject.toml")
    make(project, marker, "R/deep/x.R")
    found = find_project(project / "R", script=Path("deep/x.R"), home=home)
    assert (found.root, found.workdir, found.script) == (project, "R", "deep/x.R")
    assert found.why == marker.split("/")[0]
    assert found.git_only is (marker == ".git/HEAD") and found.only is None


def test_without_a_marker_it_is_the_scripts_folder_or_the_current_one(home: Path) -> None:
    make(home, "a/x.R", "b/")
    found = find_project(home / "b", script=Path("../a/x.R"), home=home)
    assert (found.root, found.workdir, found.script) == (home / "a", "", "x.R")
    found = find_project(home / "b", home=home)
    assert (found.root, found.workdir, found.script) == (home / "b", "", "")


@pytest.mark.parametrize("marker", [".git/HEAD", "pyproject.toml", None])
def test_a_home_folder_is_never_a_project_unless_named(marker: str | None, home: Path) -> None:
    make(home, "x.R", "secret", "plain/y.R", *([marker] if marker else []))
    found = find_project(home, script=Path("x.R"), home=home)
    assert found.only == ("x.R",) and found.root == home
    assert "your home folder, never a project: only x.R is sent" in found.notes[0]
    view = look_over(found, here=True)
    assert paths(view) == {"x.R"} and view.notes == ()
    found = find_project(home, home=home)
    assert found.only == () and "starts in an empty folder" in found.notes[0]
    assert paths(look_over(found, here=True)) == set()
    assert find_project(home / "plain", script=Path("y.R"), home=home).root == home / "plain"
    named = find_project(home / "plain", named=Path(".."), home=home)
    assert named.root == home and named.only is None and named.workdir == "plain"


def test_folders_of_everybody_and_above_home_are_never_a_project(home: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    make(shared, "x.R")
    shared.chmod(0o1777)
    assert find_project(shared, script=Path("x.R"), home=home).only == ("x.R",)
    assert find_project(tmp_path, home=home).only == ()
    assert find_project(Path("/"), home=home).only == ()
    assert "/proc is a mount point" in find_project(Path("/proc"), home=home).notes[0]


def test_a_script_outside_the_project_keeps_its_whole_path(home: Path) -> None:
    make(home, "project/shore.toml", "scripts/x.R")
    found = find_project(home / "project", script=Path("../scripts/x.R"), home=home)
    assert found.root == home / "project" and found.script == str(home / "scripts" / "x.R")


def test_what_is_named_must_be_there_and_inside(home: Path) -> None:
    make(home, "project/sub/", "project/file", "elsewhere/")
    project = home / "project"
    found = find_project(home / "elsewhere", named=project, workdir="sub", home=home)
    assert (found.root, found.workdir, found.why) == (project, "sub", "--project")
    for workdir in ("..", "/", "../elsewhere", str(home)):
        with pytest.raises(InvalidRequest, match="not inside the project"):
            find_project(home, named=project, workdir=workdir, home=home)
    with pytest.raises(InvalidRequest, match="that is no folder"):
        find_project(home, named=project, workdir="file", home=home)
    for wrong in ({"named": Path("nothing")}, {"named": project, "workdir": "nothing"}):
        with pytest.raises(InvalidRequest, match="there is no such folder"):
            find_project(home, home=home, **wrong)  # type: ignore[arg-type]


def test_a_folder_with_the_name_of_a_marker_file_is_no_marker(home: Path) -> None:
    make(home, "a/old.Rproj/x.R", "a/b/y.R")
    assert find_project(home / "a" / "b", script=Path("y.R"), home=home).root == home / "a" / "b"


def test_a_uv_workspace_is_sent_from_its_root(home: Path) -> None:
    make(home, "ws/packages/a/pyproject.toml", "ws/packages/out/pyproject.toml", "ws/x/b/pyproject.toml")
    (home / "ws" / "pyproject.toml").write_text(
        '[tool.uv.workspace]\nmembers = ["packages/*"]\nexclude = ["packages/out"]\n'
    )
    found = find_project(home / "ws" / "packages" / "a", home=home)
    assert (found.root, found.workdir, found.why) == (home / "ws", "packages/a", "the uv workspace")
    for alone in ("packages/out", "x/b"):
        assert find_project(home / "ws" / alone, home=home).root == home / "ws" / alone


def test_a_submodule_is_sent_with_its_superproject(home: Path) -> None:
    for name in ("inner", "outer"):
        make(home / name, "x.R")
        git(home / name, "init", "-q")
        git(home / name, "add", ".")
        commit(home / name)
    git(home / "outer", "submodule", "add", "-q", str(home / "inner"), "sub")
    found = find_project(home / "outer" / "sub", home=home)
    assert (found.root, found.workdir, found.why) == (home / "outer", "sub", "the superproject")
    commit(home / "outer")
    git(home / "outer", "worktree", "add", "-q", str(home / "tree"))
    assert find_project(home / "tree", home=home).root == home / "tree"


# what is sent


def test_an_analysis_repository_runs_here_with_all_it_ignores(home: Path) -> None:
    root = home / "p"
    make(
        root,
        "train.R",
        "data/a.csv",
        "fit.rds",
        "results/old.rds",
        "R/m.R",
        "__pycache__/x.pyc",
        ".Rhistory",
    )
    (root / ".gitignore").write_text("data/\n*.rds\nresults/\n.Rhistory\n")
    git(root, "init", "-q")
    view = look_over(find_project(root, home=home), here=True)
    assert paths(view) == {
        ".gitignore", ".here", "train.R", "data/a.csv", "fit.rds", "results/old.rds", "R/m.R", ".Rhistory",
    }  # fmt: skip
    assert view.links == () and view.not_sent == () and view.not_sent_line() == ""


def test_elsewhere_ignored_files_stay_unless_they_are_wanted(home: Path) -> None:
    root = home / "p"
    make(root, "train.R", "data/a.csv", "data/deep/b.csv", "fit.rds")
    (root / "data" / "a.csv").write_bytes(b"x" * 41_000)
    (root / ".gitignore").write_text("data/\n*.rds\n")
    view = look(root, here=False)
    assert paths(view) == {".gitignore", "train.R"} and folders(view.tree) == set()
    assert view.not_sent_line() == "not sent: data/ 41 kB, fit.rds 7 B (.gitignore)"
    assert "data/a.csv" in paths(look(root, here=False, send_ignored=True))
    assert paths(look(root, here=False, includes=("data/deep/*.csv",))) == {
        ".gitignore", "train.R", "data/deep/b.csv",
    }  # fmt: skip


def test_large_ignored_folders_become_links_to_the_original_here(home: Path) -> None:
    root = home / "p"
    make(root, "x.R", "small/a", "big/a", "middle/a", "huge.rds", "big/.env", "big/env/pyvenv.cfg")
    (root / ".gitignore").write_text("small/\nbig/\nmiddle/\n*.rds\n")
    for path, size in (("small/a", 10), ("big/a", 90), ("middle/a", 60), ("huge.rds", 200)):
        (root / path).write_bytes(b"x" * size * KIB)
    view = look(root, limits=Limits(copy_ignored_bytes=100 * KIB))
    assert paths(view) == {".gitignore", "x.R", "small/a", "middle/a"}
    assert view.links == (
        Link(path="big", target=str(root / "big")),
        Link(path="huge.rds", target=str(root / "huge.rds")),
    )
    linked = "linked to the originals, so what a job writes there lands there: "
    assert view.linked_line() == linked + "huge.rds 205 kB, big/ 92 kB (.gitignore)"
    assert view.not_sent_line() == ""
    many = look(root, limits=Limits(copy_ignored_files=1))
    assert len(many.links) >= 2 and "x.R" in paths(many)


def test_measuring_what_stays_ends_in_time(home: Path) -> None:
    root = home / "p"
    make(root, *(f"data/{n}" for n in range(50)))
    (root / ".gitignore").write_text("data/\n")
    [left] = look(root, here=False, limits=Limits(measure_files=10)).not_sent
    assert left.at_least and str(left).startswith("data/ more than")


def test_secrets_are_linked_here_and_stay_here_unless_included(home: Path) -> None:
    root = home / "p"
    names = [
        ".env",
        ".env.local",
        ".Renviron",
        "tls.pem",
        "my.key",
        ".netrc",
        ".pgpass",
        "credentials.json",
    ]
    make(root, "x.R", *names, "conf/Credentials", ".shoreignore")
    (root / ".shoreignore").write_text("!.env\n!conf/\n")
    view = look(root)
    everything = {*names, "conf/Credentials"}
    assert paths(view) == {"x.R", ".shoreignore"}
    assert {link.path: link.target for link in view.links} == {
        path: str(root / path) for path in everything
    }
    view = look(root, here=False)
    assert paths(view) == {"x.R", ".shoreignore"} and view.links == ()
    assert {left.path for left in view.not_sent} == everything
    view = look(root, here=False, includes=(".env", "conf/"))
    assert paths(view) == {"x.R", ".shoreignore", ".env"}
    assert "secret-like files travel because --include names them: .env" in view.notes


def test_what_shoreignore_takes_is_neither_sent_nor_linked(home: Path) -> None:
    root = home / "p"
    make(root, "x.R", ".env", "data/a", "data/keep/b", ".venv/pyvenv.cfg")
    (root / ".shoreignore").write_text(".env\ndata/\n.venv/\n")
    view = look(root, includes=("data/keep/b",))
    assert paths(view) == {"x.R", ".shoreignore", "data/keep/b"} and view.links == ()
    assert {(left.path, left.why) for left in view.not_sent} >= {(".env", ".shoreignore")}
    assert view.hold_back == (".env", "data/", ".venv/")


def test_what_never_travels(home: Path) -> None:
    root = home / "p"
    names = "x.R .git/HEAD shore-results/j/y sub/.git/HEAD __pycache__/a .nfs00000000000abc1 m.rds"
    names += " a/.ipynb_checkpoints/x .Rproj.user/x .shore-12-ab.part m.abcdefghijkl.rds"
    make(root, *names.split())
    view = look(root, beside=frozenset(["m.abcdefghijkl.rds"]), includes=("*",))
    assert paths(view) == {"x.R", "m.rds"}


def test_environments_are_linked_here_and_stay_elsewhere(home: Path) -> None:
    root = home / "p"
    names = "x.R .venv/pyvenv.cfg envs/tool/pyvenv.cfg conda/conda-meta/history renv/activate.R"
    make(root, *names.split(), "renv/library/R-4/x", "renv/staging/y", "node_modules/z", "lib/library/keep")
    (root / "linked").mkdir()
    (root / "linked" / ".venv").symlink_to(root / ".venv")
    view = look(root)
    assert paths(view) == {"x.R", "renv/activate.R", "lib/library/keep"}
    expected = {".venv", "envs/tool", "conda", "renv/library", "node_modules", "linked/.venv"}
    assert {link.path: link.target for link in view.links} == {path: str(root / path) for path in expected}
    view = look(root, here=False)
    assert view.links == () and {left.why for left in view.not_sent} == {"environment"}


def test_editable_installs_point_into_the_copy(home: Path) -> None:
    root = home / "p"
    packages = root / ".venv" / "lib" / "python3.12" / "site-packages"
    make(
        root,
        "src/mine/__init__.py",
        "lib/other/__init__.py",
        "odd/x.py",
        ".venv/pyvenv.cfg",
        "pyproject.toml",
    )
    make(home, "outside/pkg/__init__.py")
    packages.mkdir(parents=True)
    (packages / "_mine.pth").write_text(
        f"{root}/src\nimport something; something()\n# word\n/no/such/place\n"
    )
    (packages / "_out.pth").write_text(f"{home}/outside\n")
    finder = (
        f"import sys\nMAPPING: dict[str, str] = {{'other': '{root}/lib/other', 'named': '{root}/odd'}}\n"
    )
    (packages / "__editable___other_0_1_finder.py").write_text(finder)
    view = look(root)
    assert view.source_roots == ("lib", "src")
    told = f"editable installs from outside the project are used where they are: {root}/odd, {home}/outside"
    assert told in view.notes


def test_links_inside_stay_and_links_that_leave_are_told(home: Path) -> None:
    root = home / "p"
    make(root, "a/x", "b/")
    make(home, "data/y")
    for name, target in (("in", "a/x"), ("up", "../data"), ("abs", str(home / "data")), ("gone", "nothing"),
                         ("b/updown", "../a"), ("b/out", "../../data/y")):  # fmt: skip
        (root / name).symlink_to(target)
    view = look(root)
    links = {path: os.fsdecode(item.target) for path, item in view.files() if item.kind == "link"}
    assert links == {"in": "a/x", "up": str(home / "data"), "abs": str(home / "data"), "gone": "nothing",
                     "b/updown": "../a", "b/out": str(home / "data" / "y")}  # fmt: skip
    assert "links lead nowhere: gone → nothing" in view.notes
    assert any(
        note.startswith("links lead out of the project, to the originals: abs → ") for note in view.notes
    )
    elsewhere = look(root, here=False)
    links = {path: os.fsdecode(item.target) for path, item in elsewhere.files() if item.kind == "link"}
    assert links["up"] == "../data"
    assert any("dangle where that is not there" in note for note in elsewhere.notes)


def test_data_is_linked_and_never_sent(home: Path) -> None:
    root = home / "p"
    make(root, "x.R", "data/a", "deep/er/data/b", "raw.csv")
    (root / ".gitignore").write_text("deep/\n")
    data = [
        Data(path="data"),
        Data(path="deep/er/data", target="/scratch/d"),
        Data(path=str(root / "raw.csv")),
    ]
    view = look(root, data=data)
    assert paths(view) == {"x.R", ".gitignore"}
    assert {link.path: link.target for link in view.links} == {
        "data": str(root / "data"),
        "deep/er/data": str(root / "deep/er/data"),
        "raw.csv": str(root / "raw.csv"),
    }
    view = look(
        root, here=False, data=[Data(path="data", target="/scratch/d"), Data(path="gone", target="/g")]
    )
    assert {link.path: link.target for link in view.links} == {"data": "/scratch/d"}


def test_data_that_cannot_be_linked_lists_every_fault(home: Path) -> None:
    root = home / "p"
    make(root, "x.R")
    wrong = [Data(path="../y"), Data(path="."), Data(path="gone"), Data(path="x.R", target="relative")]
    with pytest.raises(InvalidRequest) as refused:
        look(root, data=wrong)
    assert [fault.message.split(": ", 1)[1].split(" ")[0] for fault in refused.value.faults] == [
        "name", "name", "there", "the",
    ]  # fmt: skip
    with pytest.raises(InvalidRequest, match="say where it lies on the cluster"):
        look(root, here=False, data=[Data(path="x.R")])


def test_a_file_that_is_too_large_is_named_although_it_lies_beside_folders(home: Path) -> None:
    root = home / "p"
    make(root, "x.R", "data/a", "data/b")
    (root / "big.rds").write_bytes(b"x" * 20 * KIB)
    (root / "data" / "a").write_bytes(b"x" * KIB)
    with pytest.raises(ProjectTooLarge, match=r"the largest met: big\.rds 20 kB[,.]"):
        look(root, limits=Limits(max_bytes=10 * KIB))


def test_files_without_a_folder_are_told_together(home: Path) -> None:
    root = home / "p"
    make(root, "data/a", *(f"{n}.txt" for n in range(20)))
    with pytest.raises(ProjectTooLarge) as many:
        look(root, limits=Limits(max_files=15))
    assert "./" in [path for path, _, _ in many.value.largest]


def test_a_scan_stops_at_the_limits_and_names_the_largest_folders(home: Path) -> None:
    root = home / "p"
    make(root, "x.R", *(f"data/raw/{n}" for n in range(20)), *(f"data/old/{n}" for n in range(5)), "z/1")
    for n in range(20):
        (root / "data" / "raw" / str(n)).write_bytes(b"x" * KIB)
    with pytest.raises(ProjectTooLarge) as many:
        look(root, limits=Limits(max_files=15))
    assert many.value.file_count == 16 and many.value.largest[0][0] == "data/raw/"
    with pytest.raises(ProjectTooLarge) as large:
        look(root, limits=Limits(max_bytes=10 * KIB))
    assert large.value.size_bytes > 10 * KIB
    assert "over the limit: 1" in str(large.value) and "data/raw/ 1" in str(large.value)
    (root / ".gitignore").write_text("data/\n")
    with pytest.raises(ProjectTooLarge):
        look(root, limits=Limits(max_files=15))


def test_what_is_no_file_and_what_cannot_be_read_is_named(ordinary: Path) -> None:
    def do() -> None:
        root = ordinary / "p"
        make(root, "x.R", "shut.csv", "closed/y")
        (root / "shut.csv").chmod(0)
        (root / "closed").chmod(0)
        os.mkfifo(root / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(root / "sock"))
            view = look(root)
        assert paths(view) == {"x.R"}
        assert "not sent, because it cannot be read: closed/, shut.csv" in view.notes
        assert "not sent, because it is neither file, folder nor link: pipe, sock" in view.notes
        assert {left.path for left in view.not_sent} == {"closed/", "shut.csv"}
        root.chmod(0o111)
        with pytest.raises(InvalidRequest, match="p cannot be read: Permission denied"):
            look(root)

    as_ordinary_user(do)


def test_lfs_pointers_are_warned_about(home: Path) -> None:
    root = home / "p"
    make(root, "x.R", "real.bin")
    (root / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    oid = "a" * 64
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n"
    (root / "model.bin").write_text(pointer)
    assert look(root).notes == (
        "Git LFS pointers are sent, not their content ('git lfs pull' fetches it): model.bin",
    )


def test_here_is_staged_only_where_git_was_the_only_marker(home: Path) -> None:
    make(home, "a/.git/HEAD", "b/.git/HEAD", "b/shore.toml", "c/.git/HEAD", "c/.here")
    for name, expected in (("a", True), ("b", False), ("c", True)):
        view = look_over(find_project(home / name, home=home), here=True)
        assert (".here" in paths(view)) is expected


def test_names_that_cannot_be_shown_or_linked_do_no_harm(home: Path) -> None:
    root = home / "p"
    root.mkdir()
    for name in (b"\x1b[2J", b"new\nline", b"\xff.pem", b"ok.pem"):
        (root / os.fsdecode(name)).write_text("x")
    view = look(root)
    assert [link.path for link in view.links] == ["ok.pem"]
    assert "cannot be linked because the name is not UTF-8: \\xff.pem" in view.notes
    assert len(paths(view)) == 2
    left = look(root, here=False, includes=()).not_sent
    assert [one.path for one in left] == ["\\xff.pem", "ok.pem"]


def test_a_limit_of_what_is_sent_is_told_as_data_not_memory() -> None:
    with pytest.raises(ValueError, match="'1k' is less than 1 MiB of data"):
        parse_size("1k")
