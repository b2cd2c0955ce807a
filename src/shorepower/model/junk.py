"""What never travels, either way: caches, environments, leftovers; and what looks like a secret. Pure.

Names are bytes, as the file system holds them.
"""

from __future__ import annotations

import re
from collections.abc import Container

__all__ = ["RESULTS_FOLDER", "is_environment", "is_secret_like", "junk_kind"]

RESULTS_FOLDER = b"shore-results"
"""Where results without a place in the project come home to; never sent."""

_NEVER = frozenset([b".git", RESULTS_FOLDER])
_CACHES = frozenset(
    [
        b"__pycache__",
        b".hypothesis",
        b".ipynb_checkpoints",
        b".mypy_cache",
        b".nox",
        b".pytest_cache",
        b".Rproj.user",
        b".ruff_cache",
        b".tox",
    ]
)
_ENVIRONMENTS = frozenset([b".venv", b"node_modules", b".pixi"])
_BELOW = {
    (b"renv", b"library"): "environment",
    (b"renv", b"python"): "environment",
    (b"packrat", b"lib"): "environment",
    (b"packrat", b"lib-R"): "environment",
    (b"packrat", b"lib-ext"): "environment",
    (b"renv", b"sandbox"): "cache",
    (b"renv", b"staging"): "cache",
    (b"renv", b"lock"): "cache",
}
"""By the names of a folder and of the folder it is in."""
_LEFTOVERS = re.compile(rb"\.nfs[0-9a-fA-F]{8,}|\.fuse_hidden.*|\.DS_Store|\.shore-.*\.part", re.DOTALL)
_SECRETS = re.compile(
    rb"\.env.*|\.renviron|.*\.pem|.*\.key|\.netrc|\.pgpass|credentials.*", re.DOTALL | re.IGNORECASE
)
"""Source: the contract, §1."""


def junk_kind(parent: bytes, name: bytes, is_dir: bool) -> str:
    """``never``, ``cache``, ``environment`` or ``leftover``; empty for what may travel.

    ``parent`` is the name of the folder it is in. A folder that is an environment by what it holds is
    told by `is_environment`.
    """
    if name in _NEVER:
        return "never"
    if not is_dir:
        return "leftover" if name[:1] == b"." and _LEFTOVERS.fullmatch(name) else ""
    if name in _CACHES:
        return "cache"
    if name in _ENVIRONMENTS:
        return "environment"
    return _BELOW.get((parent, name), "")


def is_environment(names: Container[bytes]) -> bool:
    """Whether a folder that holds these names is a Python or conda environment."""
    return b"pyvenv.cfg" in names or b"conda-meta" in names


def is_secret_like(name: bytes) -> bool:
    """Whether a file of this name may hold a secret (``.env*``, ``*.pem``, …)."""
    return _SECRETS.fullmatch(name) is not None
