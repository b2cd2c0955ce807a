"""Python environments that a project uses: which of their editable installs point into it."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

__all__ = ["Editable", "editable_installs"]

_FILE_LIMIT_BYTES = 1 << 20


class Editable(Struct, frozen=True, kw_only=True):
    """Where the editable installs of an environment point."""

    inside: tuple[str, ...] = ()
    """Source roots in the project, relative to it (``.`` is the project itself)."""
    outside: tuple[str, ...] = ()
    """Absolute folders that are used where they are: elsewhere, or under another name than they are
    imported by."""


def editable_installs(environment: Path, root: Path) -> Editable:
    """Read the ``.pth`` files and import finders of an environment; it is never written to or run.

    Source: site (the lines of .pth files), setuptools' ``__editable___*_finder.py`` (MAPPING).
    """
    inside: dict[str, None] = {}
    outside: dict[str, None] = {}
    for place, movable in _source_roots(environment):
        real = Path(os.path.realpath(place))
        if real.is_relative_to(os.path.realpath(environment)):
            continue
        if movable and real.is_relative_to(root):
            inside[real.relative_to(root).as_posix()] = None
        else:
            outside[str(real)] = None
    return Editable(inside=tuple(inside), outside=tuple(outside))


def _source_roots(environment: Path) -> Iterator[tuple[str, bool]]:
    """(folder, whether it can stand in PYTHONPATH instead)."""
    for packages in _site_packages(environment):
        try:
            files = sorted(packages.iterdir())
        except OSError:
            continue
        for file in files:
            if file.suffix == ".pth":
                yield from _lines_of_pth(file, packages)
            elif re.fullmatch(r"__editable__.*finder\.py", file.name):
                yield from _roots_of_finder(file)


def _site_packages(environment: Path) -> list[Path]:
    found = sorted(environment.glob("lib*/python3*/site-packages"))
    return [*found, *environment.glob("Lib/site-packages")]


def _lines_of_pth(file: Path, packages: Path) -> Iterator[tuple[str, bool]]:
    for line in _text(file).splitlines():
        line = line.strip()
        if line and not line.startswith(("#", "import ", "import\t")):
            place = packages / line
            if place.is_dir():
                yield str(place), True


def _roots_of_finder(file: Path) -> Iterator[tuple[str, bool]]:
    """The folders above the packages of a literal ``MAPPING = {"pkg": "/project/src/pkg"}``."""
    try:
        module = ast.parse(_text(file))
    except (SyntaxError, ValueError):
        return
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if not any(isinstance(one, ast.Name) and one.id == "MAPPING" for one in targets) or value is None:
            continue
        try:
            mapping = ast.literal_eval(value)
        except ValueError:
            continue
        for package, place in mapping.items() if isinstance(mapping, dict) else ():
            parts, folder = str(package).split("."), Path(str(place))
            if list(folder.parts[-len(parts) :]) == parts:
                yield str(folder.parents[len(parts) - 1]), True
            else:
                yield str(folder), False


def _text(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            return opened.read(_FILE_LIMIT_BYTES).decode(errors="surrogateescape")
    except OSError:
        return ""
