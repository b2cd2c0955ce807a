"""What a job says of itself while it runs: lines appended to a file. Bounded, and tolerant of anything."""

from __future__ import annotations

import math
import os
import re
import stat
from datetime import datetime

import msgspec

from ...model.job import Progress

__all__ = ["ProgressFile", "parse_progress"]

_READ_AT_ONCE = 1 << 16
_TEXT_LIMIT = 500
_LINE = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:\s+(.*))?")


def parse_progress(line: bytes, at: datetime) -> Progress | None:
    """``0.42 text``, or JSON with ``fraction`` and ``text``; any other line is a text alone.

    None for an empty line. A fraction outside 0 … 1 is moved to the nearer end.
    """
    text = line.decode("utf-8", "replace").strip()
    if not text:
        return None
    fraction: float | None = None
    if text.startswith("{"):
        try:
            told = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            told = {"text": text}
        fraction, text = _fraction(told.get("fraction")), str(told.get("text", ""))
    elif found := _LINE.fullmatch(text):
        fraction, text = _fraction(float(found[1])), found[2] or ""
    return Progress(fraction=fraction, text=text[:_TEXT_LIMIT], at=at)


def _fraction(told: object) -> float | None:
    if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told):
        return None
    return min(1.0, max(0.0, float(told)))


class ProgressFile:
    """Reads on where it left off. Blocking."""

    def __init__(self, path: str) -> None:
        self._path, self._offset = path, 0
        self.last: Progress | None = None

    def read_on(self, at: datetime) -> Progress | None:
        """The last whole line so far. Of much that is new only the end is read."""
        try:
            data = self._new()
        except OSError:  # it is not there yet, or never
            return self.last
        whole, newline, _ = data.rpartition(b"\n")
        if newline:
            self._offset += len(whole) + 1
            for line in reversed(whole.split(b"\n")):
                if told := parse_progress(line[:_READ_AT_ONCE], at):
                    self.last = told
                    break
        elif len(data) == _READ_AT_ONCE:
            self._offset += len(data)  # a line that long is no progress
        return self.last

    def _new(self) -> bytes:
        fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode):
                return b""
            if seen.st_size < self._offset:
                self._offset = 0  # written anew
            self._offset = max(self._offset, seen.st_size - _READ_AT_ONCE)
            return os.pread(fd, _READ_AT_ONCE, self._offset)
        finally:
            os.close(fd)
