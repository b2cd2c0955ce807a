"""What git ignores in a project, by git's own anchoring rules, and what ``.shoreignore`` changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["Ignoring", "hold_back_lines"]


class Ignoring:
    """The rules of one project, gathered while walking down: nested ``.gitignore`` files,
    ``.git/info/exclude``, ``core.excludesFile``, then ``.shoreignore`` and ``--include``."""

    def __init__(self, root: Path, includes: Sequence[str] = ()) -> None:
        raise NotImplementedError


def hold_back_lines(root: Path) -> tuple[str, ...]:
    """The lines of the project's ``.shoreignore``, for `JobSpec.hold_back`."""
    raise NotImplementedError
