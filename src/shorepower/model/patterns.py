"""Lines as in ``.gitignore``, asked about one path at a time, folders before what is in them. Pure.

pathspec compiles the lines; what is written here is only the way of asking, as git asks: a path is
compared with each line as it is, and what a line says of a folder above is not asked again below it.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable

__all__ = ["Rules", "lines_of"]

_BOUNDARY = "(?P<ps_d>/)"
"""How pathspec marks the end of a folder's name. Source: pathspec 1.1, patterns/gitignore/spec.py."""

_NEGATED = re.compile(r"(?<!\\)\[\^(?!/)")
"""A negated bracket expression as pathspec writes it; git's never matches a slash."""


def lines_of(data: bytes) -> list[bytes]:
    """The lines of an ignore file: a byte order mark and the CR before a LF do not count."""
    return [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


class Rules:
    """Gitignore lines relative to one folder; the last line that matches decides.

    Paths are bytes relative to that folder, ``/`` between parts, without a slash at the end.
    """

    def __init__(self, lines: Iterable[bytes | str]) -> None:
        self._lines = [found for line in lines if (found := _compiled(line)) is not None]
        """(whether the line takes, what it matches, whether that tells where a folder's name ends)"""
        either = "|".join(glob.pattern for _, glob, _ in self._lines).replace(_BOUNDARY, "/")
        self._any = re.compile(either, re.DOTALL) if self._lines else None

    def __bool__(self) -> bool:
        return bool(self._lines)

    def decide(self, path: bytes, is_dir: bool) -> bool | None:
        """True when a line takes exactly this path, False when a ``!`` line gives it back, None when no
        line speaks of it. Folders above are not looked at: ask for them first."""
        text = path.decode("latin-1") + ("/" if is_dir else "")
        if self._any is None or self._any.search(text) is None:
            return None
        for takes, glob, marked in reversed(self._lines):
            if any(_is_whole(found.end(), text, marked) for found in glob.finditer(text)):
                return takes
        return None

    def takes(self, path: bytes, is_dir: bool) -> bool:
        """Whether the path, or a folder above it, is taken; below a taken folder nothing is given back."""
        at = path.find(b"/")
        while at >= 0:
            if self.decide(path[:at], True):
                return True
            at = path.find(b"/", at + 1)
        return bool(self.decide(path, is_dir))


def _is_whole(end: int, text: str, marked: bool) -> bool:
    """Whether a match speaks of the path itself: not of a folder above it, nor (``folder/**``) only of
    what is in it, nor of a name without its last line break."""
    return end == len(text) if marked else end < len(text) or not text.endswith("/")


def _compiled(line: bytes | str) -> tuple[bool, re.Pattern[str], bool] | None:
    """None for what matches nothing: a comment, an empty line, one that cannot be read.

    Lines and paths are taken as latin-1, so that ``?`` stands for one byte, as in git.
    """
    from pathspec.patterns.gitignore import GitIgnorePatternError
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

    raw = line.encode(errors="surrogateescape") if isinstance(line, str) else line
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # a bracket expression that Python may read otherwise
        try:
            pattern = GitIgnoreSpecPattern(raw.decode("latin-1"))
        except (GitIgnorePatternError, re.error):
            return None
        if pattern.include is None or pattern.regex is None:
            return None
        glob = re.compile(_NEGATED.sub("[^/", pattern.regex.pattern), re.DOTALL)
    return bool(pattern.include), glob, _BOUNDARY in glob.pattern
