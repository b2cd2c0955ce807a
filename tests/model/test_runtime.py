"""Which program runs a script, by rule."""

import pytest

from shorepower.model.errors import InvalidRequest
from shorepower.model.runtime import Script, Session, suffix_of, uv_places, ways


def programs(path: str, *, first_line: str = "", run_bit: bool = False, **session: object) -> list[str]:
    script = Script(path=path, first_line=first_line, run_bit=run_bit)
    return [way.program for way in ways(script, Session(**session))]


def test_python_prefers_the_project_then_what_is_active_then_path() -> None:
    env = {"VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c/"}

    assert programs("a.py", project_venv="/p/.venv", env=env) == [
        "/p/.venv/bin/python",
        "/v/bin/python",
        "/c/bin/python",
        "python3",
    ]
    assert programs("a.py") == ["python3"]


@pytest.mark.parametrize(
    ("path", "argv"),
    [
        ("a b.R", ("Rscript", "a b.R", "x")),
        ("sub/a.r", ("Rscript", "sub/a.r", "x")),
        ("a.qmd", ("quarto", "render", "a.qmd", "x")),
        ("a.Rmd", ("Rscript", "-e", "rmarkdown::render(commandArgs(TRUE)[1])", "a.Rmd", "x")),
        ("a.jl", ("julia", "a.jl", "x")),
        ("a.sh", ("bash", "a.sh", "x")),
    ],
)
def test_a_suffix_gives_the_whole_command(path: str, argv: tuple[str, ...]) -> None:
    way = ways(Script(path=path), Session())[0]

    assert way.argv(way.program, ["x"]) == argv


def test_a_julia_project_is_used() -> None:
    way = ways(Script(path="a.jl"), Session(julia_project=True))[0]

    assert way.argv("julia", []) == ("julia", "--project=@.", "a.jl")


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("#!/bin/sh", ("/bin/sh", "a.sh")),
        ("#! /usr/bin/env zsh", ("/usr/bin/env", "zsh", "a.sh")),
        ("#!/bin/bash -l -e", ("/bin/bash", "-l -e", "a.sh")),
        ("#!/bin/bash\r", ("/bin/bash", "a.sh")),
    ],
)
def test_a_shell_script_runs_by_its_first_line(line: str, argv: tuple[str, ...]) -> None:
    (way,) = ways(Script(path="a.sh", first_line=line), Session())

    assert way.argv(way.program, []) == argv


def test_a_shell_script_without_one_runs_by_bash_or_else_sh() -> None:
    assert programs("a.sh") == ["bash", "sh"]


@pytest.mark.parametrize("path", ["tool", "tool.pl", "sub/tool"])
def test_a_file_with_a_first_line_and_the_run_bit_runs_by_that(path: str) -> None:
    assert programs(path, first_line="#!/usr/bin/perl", run_bit=True) == [f"./{path}"]


@pytest.mark.parametrize(("line", "run_bit"), [("", True), ("#!/usr/bin/perl", False)])
def test_anything_else_is_an_error_that_names_the_table(line: str, run_bit: bool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        programs("tool.pl", first_line=line, run_bit=run_bit)

    for suffix in (".py", ".R", ".sh", ".jl", ".ipynb", ".qmd", ".Rmd", "--"):
        assert suffix in str(caught.value)


def test_configuration_adds_suffixes_and_comes_first() -> None:
    scripts = {".do": ("stata", "-b", "do", "{script}"), ".py": ("pypy3",)}

    (stata,) = ways(Script(path="a.do"), Session(scripts=scripts))
    (pypy,) = ways(Script(path="a.py"), Session(scripts=scripts, project_venv="/p/.venv"))

    assert stata.argv("/opt/stata", ["1"]) == ("/opt/stata", "-b", "do", "a.do", "1")
    assert pypy.argv("pypy3", []) == ("pypy3", "a.py")


def test_a_notebook_is_written_under_a_name_of_its_own() -> None:
    for papermill in (True, False):
        first = ways(Script(path="n.ipynb"), Session(papermill=papermill, project_venv="/p/.venv"))[0]
        argv = first.argv("/p/.venv/bin/x", ["-p", "a", "1"])
        assert argv[:2] == ("/bin/sh", "-c")
        assert "$SHOREPOWER_JOB_ID.ipynb" in argv[2]
        assert argv[3:] == ("sh", "n.ipynb", "/p/.venv/bin/x", "-p", "a", "1")


@pytest.mark.parametrize(
    ("path", "suffix"),
    [("a.R", ".R"), ("a.tar.gz", ".gz"), (".bashrc", ""), ("a/b.d/c", ""), ("a", "")],
)
def test_the_suffix_of_a_path(path: str, suffix: str) -> None:
    assert suffix_of(path) == suffix


def test_where_uv_may_be() -> None:
    assert uv_places({"HOME": "/h", "UV": "/x/uv"}) == (
        "/x/uv",
        "uv",
        "/h/.local/bin/uv",
        "/h/.cargo/bin/uv",
    )
