"""Which client works with which server. Pure.

One minor version apart works; beyond that the answer names both and the command that upgrades.
"""

from __future__ import annotations

import re
from enum import Enum

from .errors import VersionMismatch

__all__ = ["Standing", "compare", "judge"]


class Standing(Enum):
    """A server's version beside the client's."""

    OLDER = -1
    SAME = 0
    NEWER = 1


def compare(ours: str, theirs: str) -> Standing:
    """How a server stands to this client; what follows the three numbers does not count."""
    mine, other = _numbers(ours), _numbers(theirs)
    if mine == other:
        return Standing.SAME
    return Standing.OLDER if other < mine else Standing.NEWER


def judge(ours: str, theirs: str, label: str) -> None:
    """Raises VersionMismatch when the two are more than one minor version apart."""
    mine, other = _numbers(ours), _numbers(theirs)
    if mine[0] == other[0] and abs(mine[1] - other[1]) <= 1:
        return
    older = "your shore" if mine < other else label
    raise VersionMismatch(
        f"{label} is shorepower {theirs}, your shore is {ours}: they work together when at most one minor "
        f"version apart. Upgrade {older}: uv tool upgrade shorepower (or pipx upgrade shorepower)"
    )


def _numbers(version: str) -> tuple[int, int, int]:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not found:
        raise VersionMismatch(f"{version!r} is no version of shorepower")
    return int(found[1]), int(found[2]), int(found[3] or 0)
