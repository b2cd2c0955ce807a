"""Lines as in ``.gitignore``, matched by exactly git's rules, on the bytes of paths. Pure.

Written here and not taken from a library, because a walk asks about one name at a time, folders before
what is in them, as git does; pathspec answers for files below folders only (for ``*`` with ``!*/`` it
takes the folders), knows no POSIX classes, and asks every line for every path. Names and suffixes are
looked up in tables here, so a hundred lines cost as little as one. Tested against ``git check-ignore``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Rules", "lines_of"]

_SPECIAL = re.compile(rb"[*?\[\\]")  # Source: git, is_glob_special in ctype.c.
_NEVER = rb"(?!)"
_CLASSES = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"!-~",
    b"lower": rb"a-z",
    b"print": rb" -~",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb" \t-\r",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}
"""Source: git, wildmatch.c."""


def lines_of(data: bytes) -> list[bytes]:
    """The lines of an ignore file: a byte order mark and the CR before a LF do not count."""
    return [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]


class Rules:
    """Gitignore lines relative to one folder; the last line that matches decides.

    Paths are bytes relative to that folder, ``/`` between parts, without a slash at the end.
    """

    def __init__(self, lines: Iterable[bytes | str]) -> None:
        self._gives_back: list[bool] = []
        self._names: dict[bytes, list[tuple[int, bool]]] = {}
        self._suffixes: dict[bytes, list[tuple[int, bool]]] = {}
        self._paths: dict[bytes, list[tuple[int, bool]]] = {}
        self._name_globs: list[tuple[int, bool, re.Pattern[bytes]]] = []
        self._path_globs: list[tuple[int, bool, re.Pattern[bytes]]] = []
        for line in lines:
            self._add(line.encode(errors="surrogateescape") if isinstance(line, str) else line)
        self._suffix_lengths = tuple({len(suffix) for suffix in self._suffixes})
        self._any_name = _either(self._name_globs)

    def __bool__(self) -> bool:
        return bool(self._gives_back)

    def decide(self, path: bytes, is_dir: bool) -> bool | None:
        """True when a line takes exactly this path, False when a ``!`` line gives it back, None when no
        line speaks of it. Folders above are not looked at: ask for them first."""
        name = path[path.rfind(b"/") + 1 :]
        best = -1
        if found := self._names.get(name):
            best = _last(found, is_dir, best)
        for length in self._suffix_lengths:
            if length <= len(name) and (found := self._suffixes.get(name[len(name) - length :])):
                best = _last(found, is_dir, best)
        if self._paths and (found := self._paths.get(path)):
            best = _last(found, is_dir, best)
        if self._any_name is not None and self._any_name.fullmatch(name):
            best = _last_glob(self._name_globs, name, is_dir, best)
        if self._path_globs:
            best = _last_glob(self._path_globs, path, is_dir, best)
        return None if best < 0 else not self._gives_back[best]

    def takes(self, path: bytes, is_dir: bool) -> bool:
        """Whether the path, or a folder above it, is taken; below a taken folder nothing is given back."""
        at = path.find(b"/")
        while at >= 0:
            if self.decide(path[:at], True):
                return True
            at = path.find(b"/", at + 1)
        return bool(self.decide(path, is_dir))

    def _add(self, line: bytes) -> None:
        if not line or line.startswith(b"#"):
            return
        text = _without_trailing_spaces(line)
        gives_back = text.startswith(b"!")
        text = text[gives_back:]
        only_dirs = text.endswith(b"/")
        text = text[: len(text) - only_dirs]
        if not text or text == b"/":
            return
        index = len(self._gives_back)
        self._gives_back.append(gives_back)
        literal = _SPECIAL.search(text) is None
        if b"/" not in text:
            if literal:
                self._names.setdefault(text, []).append((index, only_dirs))
            elif text[:1] == b"*" and _SPECIAL.search(text, 1) is None:
                self._suffixes.setdefault(text[1:], []).append((index, only_dirs))
            else:
                glob = re.compile(_translate(text, paths=False), re.DOTALL)
                self._name_globs.append((index, only_dirs, glob))
            return
        text = text.removeprefix(b"/")
        if literal:
            self._paths.setdefault(text, []).append((index, only_dirs))
        else:
            self._path_globs.append((index, only_dirs, _path_glob(text)))


def _last(found: list[tuple[int, bool]], is_dir: bool, best: int) -> int:
    for index, only_dirs in reversed(found):
        if is_dir or not only_dirs:
            return max(best, index)
    return best


def _last_glob(
    globs: list[tuple[int, bool, re.Pattern[bytes]]], text: bytes, is_dir: bool, best: int
) -> int:
    for index, only_dirs, glob in reversed(globs):
        if index < best:
            return best
        if (is_dir or not only_dirs) and glob.fullmatch(text):
            return index
    return best


def _either(globs: list[tuple[int, bool, re.Pattern[bytes]]]) -> re.Pattern[bytes] | None:
    if not globs:
        return None
    return re.compile(b"|".join(b"(?:" + glob.pattern + b")" for _, _, glob in globs), re.DOTALL)


def _without_trailing_spaces(line: bytes) -> bytes:
    """Source: git, trim_trailing_spaces in dir.c: unescaped spaces, nothing else."""
    kept, at = 0, 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 1
            kept = at + 1
        elif line[at : at + 1] != b" ":
            kept = at + 1
        at += 1
    return line[:kept]


def _path_glob(text: bytes) -> re.Pattern[bytes]:
    """What comes before the first special character is compared as it is, and ``**`` right after it
    counts as at the beginning. Source: git, match_pathname in dir.c."""
    first = _SPECIAL.search(text)
    assert first is not None
    literal, rest = text[: first.start()], text[first.start() :]
    return re.compile(re.escape(literal) + _translate(rest, paths=True), re.DOTALL)


def _translate(glob: bytes, *, paths: bool) -> bytes:
    """The regular expression of a glob; with ``paths`` only ``**`` between slashes crosses slashes.

    Source: git, dowild in wildmatch.c.
    """
    anything, one = (rb"[^/]*", rb"[^/]") if paths else (rb".*", rb".")
    out: list[bytes] = []
    at = 0
    while at < len(glob):
        char = glob[at : at + 1]
        if char == b"*":
            end = at
            while glob[end : end + 1] == b"*":
                end += 1
            rest = glob[end : end + 2]
            alone = (at == 0 or glob[at - 1 : at] == b"/") and (rest[:1] in (b"", b"/") or rest == b"\\/")
            if not (paths and end - at > 1 and alone):
                out.append(anything)
            elif rest[:1] == b"/":
                out.append(rb"(?:.*/)?")
                end += 1
            else:
                out.append(rb".*")
            at = end
        elif char == b"?":
            out.append(one)
            at += 1
        elif char == b"[":
            expression, at = _bracket(glob, at + 1, paths)
            out.append(expression)
        elif char == b"\\":
            out.append(re.escape(glob[at + 1 : at + 2]) or _NEVER)
            at += 2
        else:
            out.append(re.escape(char))
            at += 1
    return b"".join(out)


def _bracket(glob: bytes, at: int, paths: bool) -> tuple[bytes, int]:
    """(expression, where to go on) of what follows a ``[``; an unclosed or unknown one never matches."""
    negated = glob[at : at + 1] in (b"!", b"^")
    at += negated
    parts: list[bytes] = []
    previous = b""
    first = True
    while first or glob[at : at + 1] != b"]":
        first = False
        char = glob[at : at + 1]
        if not char:
            return _NEVER, len(glob)
        if char == b"\\":
            at += 1
            char = glob[at : at + 1]
            if not char:
                return _NEVER, len(glob)
            parts.append(re.escape(char))
        elif char == b"-" and previous and glob[at + 1 : at + 2] not in (b"", b"]"):
            at += 1
            at += glob[at : at + 1] == b"\\"
            upper = glob[at : at + 1]
            if not upper:
                return _NEVER, len(glob)
            if previous <= upper:
                parts.append(re.escape(previous) + b"-" + re.escape(upper))
            char = b""
        elif char == b"[" and glob[at + 1 : at + 2] == b":":
            end = glob.find(b"]", at + 2)
            if end < 0:
                return _NEVER, len(glob)
            if end - at - 3 < 0 or glob[end - 1 : end] != b":":
                parts.append(rb"\[")
            else:
                known = _CLASSES.get(glob[at + 2 : end - 1])
                if known is None:
                    return _NEVER, len(glob)
                parts.append(known)
                at, char = end, b""
        else:
            parts.append(re.escape(char))
        previous = char
        at += 1
    inside = b"".join(parts)
    if negated:
        return b"[^" + inside + (b"/]" if paths else b"]"), at + 1
    if not inside:
        return _NEVER, at + 1
    return (b"(?!/)" if paths else b"") + b"[" + inside + b"]", at + 1
