"""The words of a command, the options beside them, and the program that is found for a script."""

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shorepower.client.interpreters import choose, choose_elsewhere, find_program, read_script
from shorepower.client.options import Options, parse_size, read_options
from shorepower.client.seen import Followed, Seen, all_seen
from shorepower.client.words import find_script, no_such_program
from shorepower.model.errors import Ambiguous, InvalidRequest, NotFound
from shorepower.model.job import Job
from shorepower.model.output import OutputPiece, Stream
from shorepower.model.runtime import Script, Session

SCRIPT = Options(command=False)


def test_a_script_is_found_where_the_user_stands(tmp_path: Path) -> None:
    (tmp_path / "a b.R").touch()

    assert find_script(["a b.R"], SCRIPT, tmp_path) == tmp_path / "a b.R"
    assert find_script(["a b.R"], Options(command=True), tmp_path) is None
    assert find_script(["a b.R"], Options(), tmp_path) == tmp_path / "a b.R"
    assert find_script(["ls"], Options(), tmp_path) is None


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("tran.R", "did you mean 'train.R'"),
        ("TRAIN.R", "did you mean 'train.R'"),
        ("sub/x.py", "no script 'sub/x.py'"),
        ("ls", "to run a command write: -- ls"),
        ("folder", "'folder' is a folder"),
        ("none/x.R", "there is no folder"),
        ("", "nothing to run"),
    ],
)
def test_a_script_that_is_not_there(tmp_path: Path, typed: str, told: str) -> None:
    (tmp_path / "train.R").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "sub").mkdir()

    with pytest.raises(InvalidRequest, match=told):
        find_script([typed], SCRIPT, tmp_path)


def test_an_unreadable_script_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read: No such file"):
        read_script(tmp_path / "x", "x")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("train.R", "leave -- out"),
        ("./train.R", "has no run bit"),
        ("nothing", "no program 'nothing' in PATH"),
    ],
)
def test_a_program_that_is_not_there(tmp_path: Path, program: str, told: str) -> None:
    (tmp_path / "train.R").touch()

    assert told in no_such_program(program, tmp_path).message


def test_options_are_read_as_on_the_command_line() -> None:
    assert read_options(
        {
            "memory": "8G",
            "time": "2h",
            "cpus": 4,
            "gpus": "a100:2",
            "env": {"A": "1"},
            "results": "*.rds",
            "on": "hpc",
        }
    ) == Options(
        memory_mib=8192,
        wall_time_s=7200,
        cpus=4,
        gpus=(2, "a100"),
        env=("A=1",),
        results=("*.rds",),
        on="hpc",
    )
    assert read_options({"gpus": 1, "memory": 512}) == Options(gpus=(1, None), memory_mib=512)
    assert parse_size("2G") == 2 << 30


def test_every_wrong_option_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_options({"memory": "lots", "time": "soon", "cpu": 4})

    told = str(caught.value)
    assert "memory: 'lots'" in told
    assert "time: 'soon'" in told
    assert "did you mean 'cpus'" in told


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\necho 4.2.2\n")
    file.chmod(0o755)
    return file


def test_the_first_program_that_is_there_is_taken(tmp_path: Path) -> None:
    active = program(tmp_path / "active" / "bin", "python")
    found = program(tmp_path / "bin", "python3")
    env = {"PATH": f"{tmp_path}/none:{tmp_path}/bin"}

    assert choose(Script(path="a.py"), Session(env=env)).program == str(found)
    with_active = Session(
        env={**env, "VIRTUAL_ENV": str(tmp_path / "active")}, project_venv=str(tmp_path / "gone")
    )
    chosen = choose(Script(path="a.py"), with_active)
    assert chosen.program == str(active)
    assert chosen.label == "Python (VIRTUAL_ENV)"


def test_the_environment_of_shorepower_itself_is_not_taken_by_accident(tmp_path: Path) -> None:
    assert sys.prefix != sys.base_prefix, "the tests run in a virtual environment"
    found = program(tmp_path, "python3")
    env = {"PATH": f"{sys.prefix}/bin:{tmp_path}"}

    assert find_program("python3", env) == str(found)
    assert find_program("python3", {**env, "VIRTUAL_ENV": sys.prefix}) == f"{sys.prefix}/bin/python3"
    assert find_program("python3", env, any_environment=True) == f"{sys.prefix}/bin/python3"


def test_a_missing_program_names_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidRequest, match=r"a.R needs Rscript, which is not here; looked for Rscript \(PATH\)"
    ):
        choose(Script(path="a.R"), Session(env={"PATH": str(tmp_path)}))


def test_versions_are_asked_once(tmp_path: Path) -> None:
    file = program(tmp_path / "bin", "Rscript")
    session = Session(env={"PATH": str(tmp_path / "bin")})

    assert choose(Script(path="a.R"), session, tmp_path / "cache").label == "Rscript 4.2.2 (PATH)"
    count = file.stat()
    file.write_bytes(file.read_bytes().replace(b"4.2.2", b"9.9.9"))
    import os

    os.utime(file, ns=(count.st_atime_ns, count.st_mtime_ns))
    assert choose(Script(path="a.R"), session, tmp_path / "cache").version == "4.2.2"
    os.utime(file)
    assert choose(Script(path="a.R"), session, tmp_path / "cache").version == "9.9.9"


def test_papermill_is_seen_without_running_anything(tmp_path: Path) -> None:
    program(tmp_path / "bin", "python3")
    program(tmp_path / "bin", "jupyter")
    session = Session(env={"PATH": str(tmp_path / "bin")})

    assert choose(Script(path="n.ipynb"), session).way.runtime == "jupyter nbconvert"
    (tmp_path / "lib" / "python3.11" / "site-packages" / "papermill").mkdir(parents=True)
    assert choose(Script(path="n.ipynb"), session).way.runtime == "papermill"


def test_elsewhere_programs_are_named_without_a_place() -> None:
    session = Session(env={"VIRTUAL_ENV": "/v"}, project_venv="/p/.venv")

    assert choose_elsewhere(Script(path="a.py"), session).program == "python3"
    assert choose_elsewhere(Script(path="a.sh"), session).program == "bash"


def job(id: str, name: str = "n", minute: int = 0) -> Job:
    return Job(
        id=id, name=name, owner="o", cluster="local", created_at=datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
    )


def test_what_was_seen_last_is_remembered(tmp_path: Path) -> None:
    seen = Seen(tmp_path, "https://x")
    assert seen.jobs() == (None, ())

    seen.remember([job("aaaaaaaaaaaa", minute=1)])
    seen.remember([job("aaaaaaaaaaaa", "renamed", minute=1), job("aabbbbbbbbbb", "b", minute=2)])

    _, jobs = seen.jobs()
    assert [one.name for one in jobs] == ["b", "renamed"]
    assert seen.job("aab")[1].name == "b"
    assert seen.job("@renamed")[1].id == "aaaaaaaaaaaa"
    assert seen.job("@-1")[1].name == "b"
    with pytest.raises(Ambiguous):
        seen.job("aa")
    with pytest.raises(NotFound):
        seen.job("zz")
    assert Seen(tmp_path, "https://y").jobs() == (None, ())
    assert [one.name for one in all_seen(tmp_path)] == ["b", "renamed"]


def test_a_damaged_memory_is_no_memory(tmp_path: Path) -> None:
    Seen(tmp_path, "x").remember([job("aaaaaaaaaaaa")])
    (file,) = (tmp_path / "seen").iterdir()
    file.write_bytes(file.read_bytes()[:-5])

    assert Seen(tmp_path, "x").jobs() == (None, ())
    assert all_seen(tmp_path) == []


def test_output_that_was_followed_is_remembered_up_to_a_torn_end(tmp_path: Path) -> None:
    kept = Followed(tmp_path, "aaaaaaaaaaaa")
    kept.add(OutputPiece(kind="output", data=b"one", cursor="c"))
    kept.add(OutputPiece(kind="output", stream=Stream.STDERR, data=b"\xff", cursor="c"))
    (file,) = (tmp_path / "followed").iterdir()
    with file.open("ab") as torn:
        torn.write(b'{"size":9}\nabc')

    pieces = Followed(tmp_path, "aaaaaaaaaaaa").pieces()

    assert [(piece.stream, piece.data) for piece in pieces] == [
        (Stream.STDOUT, b"one"),
        (Stream.STDERR, b"\xff"),
    ]
    assert Followed(tmp_path, "bbbbbbbbbbbb").pieces() == []
