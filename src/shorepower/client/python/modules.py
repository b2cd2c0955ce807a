"""Which modules travel by value: those of the project, which no job can import."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from ..find import find_project

__all__ = ["by_value", "project_modules"]

_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_ONE_AT_A_TIME = threading.RLock()
"""cloudpickle's registry is one for the whole process."""


@contextmanager
def by_value() -> Iterator[None]:
    """Within this block cloudpickle takes the project's modules by value; one thread at a time."""
    import cloudpickle

    with _ONE_AT_A_TIME:
        known = cloudpickle.list_registry_pickle_by_value()
        added = [module for module in project_modules() if module.__name__ not in known]
        try:
            for module in added:
                cloudpickle.register_pickle_by_value(module)
            yield
        finally:
            registered = cloudpickle.list_registry_pickle_by_value()
            for module in added:
                if module.__name__ in registered:
                    cloudpickle.unregister_pickle_by_value(module)


def project_modules() -> list[ModuleType]:
    """The modules written in Python that lie in the project of the current directory, or of the script
    that runs, and are not installed."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    folders = {_cwd(), *([os.path.dirname(os.path.abspath(main))] if main else [])}  # noqa: PTH100, PTH120
    roots = frozenset(root for folder in folders if folder for root in _roots(folder))
    found = []
    for name, module in sys.modules.copy().items():
        file = getattr(module, "__file__", None)
        if (
            isinstance(file, str)
            and file.endswith(".py")
            and isinstance(module, ModuleType)
            and module.__name__ == name
            and name != "__main__"
            and _is_project_s(file, roots)
        ):
            found.append(module)
    return found


@cache
def _is_project_s(named: str, roots: frozenset[tuple[str, bool]]) -> bool:
    file = os.path.realpath(named)
    inside = any(
        file.startswith(root) if below else file.rpartition(os.sep)[0] + os.sep == root
        for root, below in roots
    )
    return inside and not file.startswith(_installed()) and not any(part in file for part in _INSTALLED)


@cache
def _roots(folder: str) -> tuple[tuple[str, bool], ...]:
    """((the project's folder, whether what lies in its sub-folders counts),). A home folder is no
    project: there, only files beside the script count."""
    found = find_project(Path(folder))
    if found.only is not None:
        return ((os.path.join(os.path.realpath(folder), ""), False),)  # noqa: PTH118
    return ((os.path.join(os.path.realpath(found.root), ""), True),)  # noqa: PTH118


@cache
def _installed() -> tuple[str, ...]:
    """Where interpreters keep what can be imported anywhere."""
    known = sysconfig.get_paths()
    places = {known[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    places.update(site.getsitepackages(), [site.getusersitepackages()])
    return tuple(os.path.join(os.path.realpath(place), "") for place in places)  # noqa: PTH118


def _cwd() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""
