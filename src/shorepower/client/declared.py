"""What a script or a project says that it needs to run: read, never resolved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..model.errors import Fault, InvalidRequest
from .names import quoted, shown

__all__ = [
    "BLOCK_MARK",
    "Needs",
    "conda_file",
    "conda_names",
    "pinned_python",
    "project_needs",
    "script_needs",
]

BLOCK_MARK = b"# /// script"
CONDA_FILES = ("environment.yml", "environment.yaml")
_FILE_LIMIT_BYTES = 4 << 20

# Source: PEP 723, "Reference Implementation", and the same on packaging.python.org, word for word.
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


class Needs(Struct, frozen=True, kw_only=True):
    """Python and packages, as they were declared."""

    by: str
    """Who says so, for people: ``x.py``, ``pyproject.toml``."""
    python: str = ""
    """A PEP 440 specifier (``>=3.12``); empty when any will do."""
    packages: tuple[str, ...] = ()
    """PEP 508 requirements."""
    complete: bool = True
    """False: more is needed than is listed (a workspace whose members say it)."""

    @property
    def anything(self) -> bool:
        return bool(self.python or self.packages or not self.complete)

    @property
    def words(self) -> str:
        """``Python >=3.12, rich>=13, httpx``."""
        wanted = (f"Python {self.python}",) if self.python else ()
        return ", ".join(map(shown, (*wanted, *self.packages)))


def script_needs(file: Path, name: str) -> Needs | None:
    """The ``# /// script`` block of a script; None without one. Raises InvalidRequest for a broken one."""
    content = _read(file)
    if BLOCK_MARK not in content:
        return None
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    blocks = [found for found in _BLOCK.finditer(text) if found["type"] == "script"]
    if not blocks:
        return None
    by = shown(name)
    if len(blocks) > 1:
        raise InvalidRequest([Fault("SCRIPT", f"{by} has {len(blocks)} `# /// script` blocks; keep one")])
    lines = blocks[0]["content"].splitlines(keepends=True)
    table = _table("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines), by)
    return _needs(table, by)


def project_needs(root: Path) -> Needs | None:
    """``[project]`` of a project's ``pyproject.toml``; None where neither it nor a ``uv.lock`` says
    anything. Raises InvalidRequest for a broken one."""
    content = _read(root / "pyproject.toml")
    locked = (root / "uv.lock").is_file()
    if not locked and b"requires-python" not in content and b"dependencies" not in content:
        return None
    table = _table(content.decode("utf-8-sig", errors="replace"), "pyproject.toml").get("project")
    if isinstance(table, dict):
        return _needs(table, "pyproject.toml")
    return Needs(by="uv.lock", complete=False) if locked else None


def pinned_python(root: Path) -> str:
    """The first line of ``.python-version`` that says something."""
    lines = _read(root / ".python-version").decode(errors="replace").splitlines()
    said = (line.strip() for line in lines)
    return next((shown(line)[:40] for line in said if line and not line.startswith("#")), "")


def conda_file(root: Path) -> Path | None:
    """The project's ``environment.yml``."""
    return next((file for name in CONDA_FILES if (file := root / name).is_file()), None)


def conda_names(file: Path) -> tuple[str, str]:
    """``name:`` and ``prefix:`` of an ``environment.yml``, each empty when not said. Raises ValueError in
    words when it is no YAML."""
    import yaml

    try:
        said = yaml.load(_read(file), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f", line {line + 1}" if line is not None else ""
        raise ValueError(f"{file.name} is not YAML{where}") from None
    if not isinstance(said, dict):
        return "", ""
    name, prefix = said.get("name"), said.get("prefix")
    return name if isinstance(name, str) else "", prefix if isinstance(prefix, str) else ""


def _needs(table: Mapping[str, Any], by: str) -> Needs:
    python, packages = table.get("requires-python", ""), table.get("dependencies", [])
    faults = []
    if not isinstance(python, str):
        faults.append(Fault("SCRIPT", f"{by}: requires-python is text, such as '>=3.11'"))
    if not isinstance(packages, list) or not all(isinstance(one, str) for one in packages):
        faults.append(Fault("SCRIPT", f"{by}: dependencies is a list of texts, such as ['rich>=13']"))
    if faults:
        raise InvalidRequest(faults)
    return Needs(by=by, python=python.strip(), packages=tuple(one.strip() for one in packages))


def _table(text: str, by: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        told = f"{by} says in broken TOML what it needs: {shown(str(error))}"
        raise InvalidRequest([Fault("SCRIPT", told)]) from None


def _read(file: Path) -> bytes:
    """The content; empty where there is none."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_FILE_LIMIT_BYTES + 1)
    except OSError:
        return b""
    if len(content) > _FILE_LIMIT_BYTES and file.suffix != ".py":
        told = f"{quoted(file.name)} is over 4 MiB, too large to be read for what it declares"
        raise InvalidRequest([Fault("SCRIPT", told)])
    return content
