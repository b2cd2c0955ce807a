"""Which Python is taken for what is declared, and what is said where none will do."""

import os
import sys
from pathlib import Path

import pytest

from shorepower.client.conda import find_prefix
from shorepower.client.declared import Needs
from shorepower.client.installed import fit_of
from shorepower.client.interpreters import Chosen, Declaring, choose, environment_of
from shorepower.model.errors import InvalidRequest
from shorepower.model.runtime import Script, Session
from support.environments import a_conda_prefix, a_venv, install

HAVE = f"{sys.version_info.major}.{sys.version_info.minor}"
SYSTEM = f"{sys.base_prefix}/bin"


class Desk:
    """A project and a user's session at it."""

    def __init__(self, home: Path) -> None:
        self.home, self.root = home, home / "project"
        self.root.mkdir()
        self.env = {"HOME": str(home), "PATH": SYSTEM}
        self.cache = home / "cache"

    def write(self, name: str, text: str) -> Path:
        file = self.root / name
        file.write_text(text)
        return file

    def script(self, *packages: str, python: str = "") -> None:
        says = f"# requires-python = {python!r}\n" if python else ""
        self.write("x.py", f"# /// script\n{says}# dependencies = {list(packages)!r}\n# ///\n")

    def venv(self, *packages: str) -> Path:
        python = a_venv(self.root / ".venv")
        for name in packages:
            install(self.root / ".venv", name)
        return python

    def choose(self, path: str = "x.py", **scripts: list[str]) -> Chosen:
        venv, file = self.root / ".venv", self.root / path
        file.touch()
        return choose(
            Script(path=path),
            Session(
                env=self.env,
                project_venv=str(venv) if venv.is_dir() else None,
                scripts={f".{suffix}": words for suffix, words in scripts.items()},
            ),
            self.cache,
            Declaring(file=file, root=self.root, environ=self.env),
        )

    def refused(self, path: str = "x.py") -> str:
        with pytest.raises(InvalidRequest) as caught:
            self.choose(path)
        return str(caught.value)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_script_is_run_by_the_first_python_that_has_what_it_declares(desk: Desk) -> None:
    desk.script("tinydep", python=f">={HAVE}")
    desk.venv()
    active = a_venv(desk.home / "active")
    install(desk.home / "active", "tinydep")
    desk.env["VIRTUAL_ENV"] = str(desk.home / "active")

    chosen = desk.choose()

    assert chosen.program == str(active)
    assert chosen.way.why == "VIRTUAL_ENV; it has what x.py declares"


def test_the_error_names_what_each_python_lacks_and_how_to_get_it(desk: Desk) -> None:
    desk.script("tinydep>=2", "otherdep")
    python = desk.venv("tinydep")

    told = desk.refused()

    assert "x.py declares tinydep>=2, otherdep, which no Python here has: uv is not here; " in told
    assert f"{python}) its tinydep is 1.0, not >=2, has no otherdep" in told
    assert f"PATH (Python {HAVE}" in told
    assert f"`{python} -m pip install 'tinydep>=2' otherdep` adds what is missing" in told
    assert "`uv sync --script x.py`" in told


def test_a_script_for_another_python_names_both_versions(desk: Desk) -> None:
    desk.script(python=">=3.99")

    told = desk.refused()

    assert "x.py declares Python >=3.99" in told
    assert f"is Python {HAVE}." in told
    assert "pip install" not in told


def test_a_script_that_declares_nothing_runs_as_ever(desk: Desk) -> None:
    desk.script()
    desk.write("uv.lock", "version = 1\n")

    assert desk.choose().way.why == "PATH"


def test_words_that_cannot_be_understood_are_refused(desk: Desk) -> None:
    desk.script("rich >= ", python="new")

    told = desk.refused()

    assert "x.py: requires-python 'new' is no version specifier" in told
    assert "x.py: 'rich >=' is no requirement" in told


def test_a_configured_command_is_not_second_guessed(desk: Desk) -> None:
    desk.script("tinydep")

    assert desk.choose(py=[f"{SYSTEM}/python3", "-O"]).way.before == ("-O", "x.py")


def test_a_locked_project_without_an_environment_is_refused(desk: Desk) -> None:
    desk.write("uv.lock", "version = 1\n")
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\ndependencies = ['tinydep']\n")
    desk.write(".python-version", "3.12\n")

    told = desk.refused()

    assert "pyproject.toml declares tinydep" in told
    assert "the project has no .venv; PATH" in told
    assert "has no tinydep" in told
    assert "`uv sync` builds its environment with Python 3.12 (.python-version)" in told
    assert "`shore run -- python3 x.py` runs it as it is" in told


def test_a_locked_project_takes_an_active_environment_that_has_everything(desk: Desk) -> None:
    desk.write("uv.lock", "version = 1\n")
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\ndependencies = ['tinydep']\n")
    active = a_venv(desk.home / "active")
    install(desk.home / "active", "tinydep")
    desk.env["VIRTUAL_ENV"] = str(desk.home / "active")

    assert desk.choose().program == str(active)


def test_a_workspace_without_an_environment_never_takes_the_systems_python(desk: Desk) -> None:
    desk.write("uv.lock", "version = 1\n")
    desk.write("pyproject.toml", "[tool.uv.workspace]\nmembers = ['a']\n")

    told = desk.refused()
    assert "the project has a uv.lock, and no Python here is known to have what it lists" in told
    assert "`uv sync` builds its environment;" in told
    desk.env["VIRTUAL_ENV"] = str(desk.home / "active")
    active = a_venv(desk.home / "active")
    assert desk.choose().program == str(active)


def test_a_locked_project_whose_environment_lost_its_python(desk: Desk) -> None:
    desk.write("uv.lock", "version = 1\n")
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\ndependencies = ['tinydep']\n")
    (desk.root / ".venv" / "bin").mkdir(parents=True)
    (desk.root / ".venv" / "bin" / "python").symlink_to("/gone/python3.9")

    assert "the project's .venv has no Python" in desk.refused()


def test_uvs_own_variable_names_the_environment(desk: Desk) -> None:
    desk.write("uv.lock", "version = 1\n")
    desk.env["UV_PROJECT_ENVIRONMENT"] = str(desk.home / "scratch")
    python = a_venv(desk.home / "scratch")

    chosen = desk.choose()

    assert (chosen.program, chosen.way.why) == (str(python), "UV_PROJECT_ENVIRONMENT")


def test_an_environment_of_the_wrong_python_is_refused(desk: Desk) -> None:
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\nrequires-python = '>=3.99'\n")
    desk.write("uv.lock", "version = 1\n")
    desk.venv()

    told = desk.refused()

    assert f"pyproject.toml requires Python >=3.99, but the project's .venv (Python {HAVE}." in told
    assert "`uv sync` makes it anew" in told


def test_a_projects_own_python_is_not_run_to_learn_its_version(desk: Desk) -> None:
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\nrequires-python = '>=3.9'\n")
    python, ran = desk.venv(), desk.home / "ran"
    python.unlink()
    python.write_text(f"#!/bin/sh\ntouch {ran}\n")
    python.chmod(0o755)

    assert desk.choose().program == str(python)
    assert not ran.exists()


def test_the_projects_environment_is_taken_whatever_it_lacks(desk: Desk) -> None:
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\ndependencies = ['tinydep']\n")
    desk.venv()

    chosen = desk.choose()

    assert chosen.way.why == "the project's .venv"
    assert not chosen.notes


def test_without_a_lock_what_is_missing_is_said_and_no_more(desk: Desk) -> None:
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\ndependencies = ['tinydep']\n")

    chosen = desk.choose()

    assert chosen.way.why == "PATH"
    (note,) = chosen.notes
    assert note.startswith("pyproject.toml declares what PATH (Python ")
    assert note.endswith("does not have: no tinydep")


def test_without_a_lock_the_wrong_python_is_refused(desk: Desk) -> None:
    desk.write("pyproject.toml", "[project]\nname = 'x'\nversion = '0'\nrequires-python = '>=3.99'\n")

    assert f"pyproject.toml requires Python >=3.99, but PATH (Python {HAVE}." in desk.refused()


def test_a_conda_environment_that_is_built_is_used(desk: Desk) -> None:
    desk.write("environment.yml", "name: fit\ndependencies: [python]\n")
    python = a_conda_prefix(desk.home / "miniforge3" / "envs" / "fit")
    desk.env["VIRTUAL_ENV"] = str(desk.home / "active")
    a_venv(desk.home / "active")

    chosen = desk.choose()

    assert chosen.program == str(python)
    assert chosen.label == f"Python {HAVE} (environment.yml, conda environment fit)"
    assert environment_of(chosen) == desk.home / "miniforge3" / "envs" / "fit"


def test_a_conda_environment_that_is_not_built(desk: Desk) -> None:
    desk.write("environment.yml", "name: fit\n")

    told = desk.refused()

    assert "environment.yml names the conda environment 'fit', which is not built here" in told
    assert "`conda env create -f environment.yml` builds it" in told


def test_an_active_environment_stands_in_for_one_that_is_not_built(desk: Desk) -> None:
    desk.write("environment.yml", "name: fit\n")
    base, other = desk.home / "base", desk.home / "base" / "envs" / "other"
    a_conda_prefix(base)
    (base / "condabin").mkdir()
    python = a_conda_prefix(other)

    desk.env["CONDA_PREFIX"] = str(base)
    assert "is not built here" in desk.refused()
    desk.env["CONDA_PREFIX"] = str(other)
    chosen = desk.choose()

    assert chosen.program == str(python)
    assert chosen.notes == (
        "environment.yml names the conda environment 'fit', which is not built here; CONDA_PREFIX is used",
    )


def test_an_environment_file_that_cannot_be_read_is_said(desk: Desk) -> None:
    desk.write("environment.yml", "name: [\n")

    (note,) = desk.choose().notes

    assert note.startswith("environment.yml is not YAML, line ")


def test_a_virtual_environment_comes_before_conda(desk: Desk) -> None:
    desk.write("environment.yml", "name: fit\n")
    python = desk.venv()

    assert desk.choose().program == str(python)


def test_a_notebook_follows_the_project_too(desk: Desk) -> None:
    desk.write("environment.yml", "name: fit\n")
    prefix = desk.home / ".conda" / "envs" / "fit"
    a_conda_prefix(prefix)
    jupyter = prefix / "bin" / "jupyter"
    jupyter.write_text("#!/bin/sh\n")
    jupyter.chmod(0o755)

    assert desk.choose("n.ipynb").program == str(jupyter)


@pytest.mark.parametrize(
    ("place", "env"),
    [
        ("root/envs/fit", {"CONDA_PREFIX": "{}/root/envs/other"}),
        ("root/envs/fit", {"CONDA_PREFIX": "{}/root"}),
        ("root/envs/fit", {"CONDA_EXE": "{}/root/bin/conda"}),
        ("root/envs/fit", {"MAMBA_ROOT_PREFIX": "{}/root"}),
        ("root/envs/fit", {"CONDA_ROOT": "{}/root"}),
        ("envs/fit", {"CONDA_ENVS_PATH": "{0}/none:{0}/envs"}),
        ("home/.conda/envs/fit", {}),
        ("home/micromamba/envs/fit", {}),
        ("far/away/fit", {}),
    ],
)
def test_where_conda_keeps_environments(tmp_path: Path, place: str, env: dict[str, str]) -> None:
    a_conda_prefix(tmp_path / place)
    home = tmp_path / "home"
    (home / ".conda").mkdir(parents=True, exist_ok=True)
    (home / ".conda" / "environments.txt").write_text(f"{tmp_path}/gone/fit\n{tmp_path}/far/away/fit\n")
    known = {"HOME": str(home), **{name: value.format(tmp_path) for name, value in env.items()}}

    assert find_prefix("fit", "", known) == tmp_path / place
    assert find_prefix("none", "", known) is None
    assert find_prefix("../fit", "", known) is None
    assert find_prefix("none", f"{tmp_path}/{place}", known) == tmp_path / place


def test_markers_extras_and_names_are_understood(tmp_path: Path) -> None:
    python = str(a_venv(tmp_path / "v"))
    install(tmp_path / "v", "Tiny_Dep", "2.0rc1", ('extra-one>=2; extra == "more"', "not-asked"))
    install(tmp_path / "v", "extra_one", "1.0")

    def wrong(*packages: str) -> tuple[str, ...]:
        needs = Needs(by="x.py", packages=packages)
        return fit_of(python, needs, env=dict(os.environ), cwd=tmp_path, cache_dir=None).wrong

    assert wrong("tiny-dep>=2.0rc1", "none; sys_platform == 'win32'", "tiny.dep[other]") == ()
    assert wrong("tiny-dep[more]") == ("extra-one is 1.0, not >=2 (for tiny-dep[more])",)
    assert wrong("tiny-dep @ https://example.org/tiny.zip") == ()
    assert wrong("none; python_version > '3'") == ("no none",)


def test_a_yes_is_remembered_until_something_is_installed(tmp_path: Path) -> None:
    python = a_venv(tmp_path / "v")
    install(tmp_path / "v", "tinydep")
    needs = Needs(by="x.py", packages=("tinydep",))
    asked = tmp_path / "asked"
    (tmp_path / "count").mkdir()
    (tmp_path / "count" / "sitecustomize.py").write_text(f"open({str(asked)!r}, 'a').write('x')\n")
    env = {"PATH": SYSTEM, "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "count")}
    env["PYTHONDONTWRITEBYTECODE"] = "1"

    def fits() -> bool:
        return fit_of(str(python), needs, env=env, cwd=tmp_path, cache_dir=tmp_path / "cache").is_right

    assert fits()
    assert fits()
    assert asked.read_text() == "x"
    (package,) = (tmp_path / "v").glob("lib/python3*/site-packages/tinydep-1.0.dist-info")
    package.rename(tmp_path / "elsewhere")
    assert not fits()
    assert not fits()
    (tmp_path / "elsewhere").rename(package)
    assert fits()


def test_files_of_the_project_are_not_imported_while_asking(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')\n")
    needs = Needs(by="x.py", python=">=3")

    fit = fit_of(f"{SYSTEM}/python3", needs, env={"PATH": SYSTEM}, cwd=tmp_path, cache_dir=None)

    assert fit.is_right
    assert fit.version.startswith(HAVE)


def test_a_python_that_does_not_start_is_said(desk: Desk) -> None:
    desk.script("tinydep")
    python = desk.home / "active" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    desk.env["VIRTUAL_ENV"] = str(desk.home / "active")

    assert f"VIRTUAL_ENV ({python}) does not start" in desk.refused()
