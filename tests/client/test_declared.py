"""What scripts and projects say that they need."""

from pathlib import Path

import pytest

from shorepower.client.declared import (
    Needs,
    conda_file,
    conda_names,
    pinned_python,
    project_needs,
    script_needs,
)
from shorepower.model.errors import InvalidRequest

BLOCK = """\
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "requests<3",
#   "rich",
# ]
# ///
"""


def needs_of(tmp_path: Path, text: str | bytes) -> Needs | None:
    file = tmp_path / "x.py"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return script_needs(file, "x.py")


WANTED = Needs(by="x.py", python=">=3.11", packages=("requests<3", "rich"))


@pytest.mark.parametrize(
    "text",
    [
        BLOCK + "import requests\n",
        "#!/usr/bin/env -S uv run --script\n#\n# Fits.\n\n" + BLOCK,
        "x = 1\n" + BLOCK,
        BLOCK.replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + BLOCK.encode(),
        b"# caf\xe9\n" + BLOCK.encode(),
        BLOCK.replace("# ///\n", "#\n# [tool.x]\n# y = 1\n# ///\n"),
        "# /// other\n# a = 1\n# ///\n\n" + BLOCK,
        "#" * 100_000 + "\n" + BLOCK,
    ],
    ids=["first", "after #!", "late", "crlf", "bom", "latin-1", "tool", "other block", "far down"],
)
def test_the_block_of_a_script(tmp_path: Path, text: str | bytes) -> None:
    assert needs_of(tmp_path, text) == WANTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "import os\n",
        BLOCK.replace("# ///\n", ""),
        BLOCK.replace("# /// script", "# ///script"),
        " " + BLOCK,
        "# /// other\n# a = 1\n# ///\n",
    ],
    ids=["empty", "none", "not closed", "no space", "indented", "another type"],
)
def test_what_is_no_block(tmp_path: Path, text: str) -> None:
    assert needs_of(tmp_path, text) is None


def test_an_empty_block_needs_nothing(tmp_path: Path) -> None:
    needs = needs_of(tmp_path, "# /// script\n# dependencies = []\n# ///\n")

    assert needs is not None
    assert not needs.anything


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BLOCK + "\n" + BLOCK, "x.py has 2 `# /// script` blocks; keep one"),
        ("# /// script\n# dependencies = [\n# ///\n", "x.py says in broken TOML what it needs"),
        ("# /// script\n# dependencies = 'rich'\n# ///\n", "dependencies is a list of texts"),
        ("# /// script\n# requires-python = 3.11\n# ///\n", "requires-python is text"),
    ],
)
def test_a_broken_block_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidRequest, match=r"x\.py") as caught:
        needs_of(tmp_path, text)

    assert told in str(caught.value)


def test_what_a_project_needs(tmp_path: Path) -> None:
    assert project_needs(tmp_path) is None
    project = tmp_path / "pyproject.toml"
    project.write_text("[tool.ruff]\nline-length = 100\n")
    assert project_needs(tmp_path) is None
    (tmp_path / "uv.lock").write_text("version = 1\n")
    assert project_needs(tmp_path) == Needs(by="uv.lock", complete=False)
    project.write_text("[project]\nname = 'x'\nrequires-python = '>=3.12'\ndependencies = ['numpy']\n")

    assert project_needs(tmp_path) == Needs(by="pyproject.toml", python=">=3.12", packages=("numpy",))


def test_a_pinned_python(tmp_path: Path) -> None:
    assert pinned_python(tmp_path) == ""
    (tmp_path / ".python-version").write_text("# ours\n\n 3.12.4\n3.11\n")
    assert pinned_python(tmp_path) == "3.12.4"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name: fit\ndependencies:\n  - python=3.11\n  - pip:\n      - rich\n", ("fit", "")),
        ("dependencies: [numpy]\nprefix: /opt/conda/envs/fit # here\n", ("", "/opt/conda/envs/fit")),
        ('name: "fit: one"\nprefix: ~\n', ("fit: one", "")),
        ("name: 3\n", ("", "")),
        ("- fit\n", ("", "")),
        ("", ("", "")),
    ],
)
def test_the_names_in_an_environment_file(tmp_path: Path, text: str, names: tuple[str, str]) -> None:
    file = tmp_path / "environment.yml"
    file.write_text(text)

    assert conda_file(tmp_path) == file
    assert conda_names(file) == names


def test_an_environment_file_that_is_no_yaml(tmp_path: Path) -> None:
    file = tmp_path / "environment.yaml"
    file.write_text("name: fit\ndependencies: [\n{% if x %}\n")

    assert conda_file(tmp_path) == file
    with pytest.raises(ValueError, match=r"environment.yaml is not YAML, line 3"):
        conda_names(file)


def test_an_environment_file_runs_no_code(tmp_path: Path) -> None:
    file = tmp_path / "environment.yml"
    file.write_text(f"name: !!python/object/apply:os.mkdir [{tmp_path}/made]\n")

    with pytest.raises(ValueError, match="is not YAML"):
        conda_names(file)
    assert not (tmp_path / "made").exists()
