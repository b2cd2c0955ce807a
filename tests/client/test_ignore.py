"""What git ignores, held against git itself."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from shorepower.client.ignore import Ignoring, Level, Verdict, hold_back_lines
from shorepower.model.patterns import Rules, lines_of

NAMES = [b"a", b"b", b"ab", b"foo", b"foo.txt", b"data", b"x.rds", b".env", b"a b", b"a ", b"A", b"[a]"]
NAMES += [b"foo bar.csv", b"\xc3\xa9", b"\xff", b"new\nline", b"tab\t", b"b!", b"#c", b"-", b"*", b"\\"]
# What pathspec reads as git does; its limits are named in docs/decisions/0008.
PIECES = [b"a", b"b", b"ab", b"foo", b"*", b"?", b"[ab]", b"[!a]", b"[^b]", b"[a-f]", b"\\*"]
PIECES += [b".", b".rds", b"txt", b"data", b"\xc3\xa9", b"[a-]", b"\\#c", b"!", b"#"]


@pytest.fixture
def git_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without any git setting of the machine's."""
    home = tmp_path / "home"
    (home / ".config" / "git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return home


def git(folder: Path, *argv: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(["git", *argv], cwd=folder, input=stdin, capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def make(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)


def sent_by_us(root: Path, includes: tuple[str, ...] = ()) -> set[bytes]:
    ignoring, found = Ignoring(root, includes), set()

    def walk(path: bytes, above: Level | None, state: Verdict) -> None:
        with os.scandir(os.fsencode(root) + b"/" + path) as entries:
            listed = list(entries)
        level = ignoring.enter(path, {entry.name for entry in listed}, above, state)
        for entry in listed:
            inner = path + b"/" + entry.name if path else entry.name
            is_dir = entry.is_dir(follow_symlinks=False)
            if entry.name == b".git":
                continue
            verdict = ignoring.judge(level, inner, is_dir)
            if not is_dir:
                found.update([inner] if verdict.sent else [])
            elif verdict.sent or ignoring.may_hold_sent(level, inner):
                walk(inner, level, verdict)

    walk(b"", None, Verdict.SEND)
    ignoring.close()
    return found


def sent_by_git(root: Path) -> set[bytes]:
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return {name for name in listed.split(b"\0") if name}


def random_line(rng: random.Random) -> bytes:
    line = b"".join(rng.choice(PIECES) for _ in range(rng.randint(1, 3)))
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        line += b"/" + b"".join(rng.choice(PIECES) for _ in range(rng.randint(1, 2)))
    front = rng.choice([b"", b"", b"", b"!", b"/", b"!/", b"**/"])
    return front + line + rng.choice([b"", b"", b"", b"/", b"/*", b"/**", b" ", b"  ", b"\r"])


def random_tree(rng: random.Random, folder: bytes, depth: int = 0) -> None:
    os.makedirs(folder, exist_ok=True)
    for name in rng.sample(NAMES, rng.randint(2, 7)):
        path = folder + b"/" + name
        if depth < 3 and rng.random() < 0.45:
            random_tree(rng, path, depth + 1)
        elif rng.random() < 0.05:
            os.symlink(b"data", path)
        else:
            with open(path, "wb"):
                pass
    if depth == 0 or rng.random() < 0.3:
        lines = [random_line(rng) for _ in range(rng.randint(1, 6))]
        with open(folder + b"/.gitignore", "wb") as file:
            file.write(b"\n".join(lines) + rng.choice([b"", b"\n"]))


@pytest.mark.parametrize("seed", range(150))
def test_random_trees_agree_with_git(seed: int, tmp_path: Path, git_home: Path) -> None:
    rng = random.Random(seed)
    root = tmp_path / "project"
    random_tree(rng, os.fsencode(root))
    git(root, "init", "-q")
    (root / ".git" / "info" / "exclude").write_bytes(b"\n".join(random_line(rng) for _ in range(2)))
    (git_home / ".config" / "git" / "ignore").write_bytes(random_line(rng))
    assert sent_by_us(root) == sent_by_git(root)


@pytest.mark.parametrize("seed", range(40))
def test_lines_agree_with_git_check_ignore(seed: int, tmp_path: Path, git_home: Path) -> None:
    rng = random.Random(1000 + seed)
    git(tmp_path, "init", "-q", "r")
    root = tmp_path / "r"
    lines = [random_line(rng) for _ in range(rng.randint(1, 8))]
    (root / ".gitignore").write_bytes(b"\n".join(lines))
    paths = [b"/".join(rng.choice(NAMES) for _ in range(rng.randint(1, 4))) for _ in range(200)]
    answer = git(root, "check-ignore", "-z", "--stdin", "--no-index", stdin=b"\0".join(paths))
    rules = Rules(lines_of(b"\n".join(lines)))
    ours = {path for path in paths if rules.takes(path, False)}
    assert ours == {path for path in answer.split(b"\0") if path}


def test_the_usual_analysis_repository(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "train.R", "data/a.csv", "fit.rds", "results/fit.rds", "sub/data/b.csv", "R/model.R")
    (tmp_path / ".gitignore").write_text("data/\n*.rds\n/results/\n")
    git(tmp_path, "init", "-q")
    assert sent_by_us(tmp_path) == {b".gitignore", b"train.R", b"R/model.R"}


def test_a_repository_that_lists_what_it_wants(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "a.py", "a.txt", "pkg/b.py", "pkg/b.txt", "pkg/deep/c.py")
    (tmp_path / ".gitignore").write_text("*\n!*/\n!*.py\n")
    git(tmp_path, "init", "-q")
    assert sent_by_us(tmp_path) == sent_by_git(tmp_path) == {b"a.py", b"pkg/b.py", b"pkg/deep/c.py"}


def test_what_git_tracks_is_sent_though_a_line_takes_it(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "data/small.csv", "data/big.csv", "data/deep/x.csv", "run.log")
    (tmp_path / ".gitignore").write_text("data/\n*.log\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "data/small.csv", "data/deep/x.csv", "run.log")
    assert sent_by_us(tmp_path) == {b".gitignore", b"data/small.csv", b"data/deep/x.csv", b"run.log"}


def test_a_project_below_the_top_of_its_repository(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "a/b/out/x", "a/b/keep.txt", "a/b/top.tmp", "a/b/mid.log", "a/b/only")
    (tmp_path / ".gitignore").write_text("*.tmp\n/a/b/only\n")
    (tmp_path / "a" / ".gitignore").write_text("b/out/\n*.log\n")
    git(tmp_path, "init", "-q")
    assert sent_by_us(tmp_path / "a" / "b") == {b"keep.txt"}


def test_a_project_in_an_ignored_folder_is_sent_whole(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "scratch/mine/x.R", "scratch/mine/y.tmp")
    (tmp_path / ".gitignore").write_text("scratch/\n*.tmp\n")
    git(tmp_path, "init", "-q")
    assert sent_by_us(tmp_path / "scratch" / "mine") == {b"x.R", b"y.tmp"}


def test_a_repository_inside_counts_by_its_own_rules(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "x.log", "inner/x.log", "inner/x.tmp", "inner/forced.tmp")
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "inner" / ".gitignore").write_text("*.tmp\n")
    git(tmp_path, "init", "-q")
    git(tmp_path / "inner", "init", "-q")
    git(tmp_path / "inner", "add", "-f", "forced.tmp")
    expected = {b".gitignore", b"inner/.gitignore", b"inner/x.log", b"inner/forced.tmp"}
    assert sent_by_us(tmp_path) == expected


def test_the_excludes_file_of_the_configuration(tmp_path: Path, git_home: Path) -> None:
    project = tmp_path / "project"
    make(project, "a.swp", "b.txt")
    (git_home / "mine").write_text("*.swp\n")
    (git_home / ".gitconfig").write_text("[core]\n  excludesFile = ~/mine\n")
    git(project, "init", "-q")
    assert sent_by_us(project) == {b"b.txt"}


def test_without_a_repository_ignore_files_count_all_the_same(tmp_path: Path) -> None:
    make(tmp_path, "a.rds", "b.R")
    (tmp_path / ".gitignore").write_text("*.rds\n")
    assert sent_by_us(tmp_path) == {b".gitignore", b"b.R"}


def test_shoreignore_takes_away_and_gives_back(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "data/a.csv", "data/b.rds", "big/x", "keep.rds", "notes.md", "deep/in/ignored/x.csv")
    (tmp_path / ".gitignore").write_text("data/\n*.rds\ndeep/\n")
    (tmp_path / ".shoreignore").write_text("# a word\nbig/\n!data/\n")
    git(tmp_path, "init", "-q")
    base = {b".gitignore", b".shoreignore", b"notes.md", b"data/a.csv", b"data/b.rds"}
    assert sent_by_us(tmp_path) == base
    assert sent_by_us(tmp_path, ("keep.rds",)) == base | {b"keep.rds"}
    assert sent_by_us(tmp_path, ("deep/in/ignored/*.csv",)) == base | {b"deep/in/ignored/x.csv"}
    assert sent_by_us(tmp_path, ("*.csv", "big/")) == base | {b"deep/in/ignored/x.csv", b"big/x"}
    assert hold_back_lines(tmp_path) == ("big/", "!data/")


def test_an_ignore_file_that_is_a_link_does_not_count(tmp_path: Path, git_home: Path) -> None:
    make(tmp_path, "rules", "a.txt")
    (tmp_path / "rules").write_text("*.txt\n")
    (tmp_path / ".gitignore").symlink_to("rules")
    git(tmp_path, "init", "-q")
    assert b"a.txt" in sent_by_us(tmp_path)
    assert sent_by_us(tmp_path) == sent_by_git(tmp_path)
