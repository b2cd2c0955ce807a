"""Lines as in ``.gitignore``: exactly git's rules, on paths. Pure."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Rules"]


class Rules:
    """A list of gitignore lines relative to one folder; the last line that matches decides."""

    def __init__(self, lines: Iterable[str]) -> None:
        raise NotImplementedError

    def decide(self, path: str, is_dir: bool) -> bool | None:
        """True when a line takes exactly this path, False when a ``!`` line gives it back, None when no
        line speaks of it. Parents are not looked at: ask for them first."""
        raise NotImplementedError

    def takes(self, path: str, is_dir: bool) -> bool:
        """Whether the path or a folder above it is taken (what is below a taken folder stays taken)."""
        raise NotImplementedError
