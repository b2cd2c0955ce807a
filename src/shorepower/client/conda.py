"""Where conda, mamba and micromamba keep an environment of a name. Nothing of theirs runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["find_prefix", "is_prefix"]

_ROOTS = ("CONDA_ROOT", "MAMBA_ROOT_PREFIX")
_HOMES = ("miniforge3", "miniconda3", "mambaforge", "anaconda3", "micromamba", ".local/share/mamba")


def find_prefix(name: str, prefix: str, env: Mapping[str, str]) -> Path | None:
    """The environment called ``name``, else the one at ``prefix``; None where neither is built.

    ``prefix`` comes second: ``conda env export`` writes that of the machine where it ran.
    """
    places = _places(name, env) if name and not {"/", "\0"} & set(name) and name != ".." else iter(())
    named = (Path(prefix),) if prefix.startswith("/") else ()
    return next((place for place in (*places, *named) if is_prefix(place)), None)


def is_prefix(place: Path) -> bool:
    """Every environment of conda has ``conda-meta``, whoever built it."""
    try:
        return (place / "conda-meta").is_dir()
    except (OSError, ValueError):
        return False


def _places(name: str, env: Mapping[str, str]) -> Iterator[Path]:
    """Where it may be, best first.

    Source: conda's documentation, "Specifying a location for an environment" (``envs_dirs``) and
    ``conda.core.envs_manager`` (``environments.txt``).
    """
    roots = list(_roots(env))
    if name == "base":
        yield from roots
        return
    listed = env.get("CONDA_ENVS_PATH") or env.get("CONDA_ENVS_DIRS") or ""
    yield from (Path(folder, name) for folder in listed.split(os.pathsep) if folder)
    yield from (root / "envs" / name for root in roots)
    home = Path(env.get("HOME") or "/")
    yield home / ".conda" / "envs" / name
    yield from (place for place in _registered(home) if place.name == name)


def _roots(env: Mapping[str, str]) -> Iterator[Path]:
    """Installations of conda and its kin."""
    if active := env.get("CONDA_PREFIX"):
        place = Path(active)
        yield place.parent.parent if place.parent.name == "envs" else place
    for program in ("CONDA_EXE", "MAMBA_EXE"):
        if path := env.get(program):
            yield Path(path).parent.parent
    yield from (Path(env[variable]) for variable in _ROOTS if env.get(variable))
    home = Path(env.get("HOME") or "/")
    yield from (home / folder for folder in _HOMES)


def _registered(home: Path) -> list[Path]:
    try:
        lines = (home / ".conda" / "environments.txt").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []
    return [Path(line.strip()) for line in lines if line.strip().startswith("/")]
