"""What a task wrote into ``SHOREPOWER_METRICS``. Blocking."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

__all__ = ["METRICS_BYTES", "Metrics", "read_metrics"]

METRICS_BYTES = 64 << 10
"""So much is read, from the end of the file."""
_MOST_NAMES = 200
_LONGEST = 1_000
"""Letters of a name or of a text."""
_LARGEST = 1 << 63
_SPECIAL = re.compile(rb"NaN|Infinity")
"""As Python and R write them, though JSON has no such words."""

Metrics: TypeAlias = dict[str, float | int | bool | str | None]


def read_metrics(path: Path) -> Metrics:
    """The last value of each name in JSON lines (objects of plain values); what is none of these is passed
    over, and a number that is none (NaN) is None. Never raises: a file that is not there says nothing."""
    try:
        data = _end_of(path)
    except OSError:
        return {}
    found: Metrics = {}
    for line in data.split(b"\n"):
        for name, value in _object(line).items():
            if len(name) <= _LONGEST and _is_plain(value) and (name in found or len(found) < _MOST_NAMES):
                found[name] = None if isinstance(value, float) and not math.isfinite(value) else value
    return found


def _end_of(path: Path) -> bytes:
    """The last bytes, from the beginning of a line; a line that is being written is none yet."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return b""
        start = max(0, status.st_size - METRICS_BYTES)
        data = os.pread(fd, METRICS_BYTES, start)
    finally:
        os.close(fd)
    return data.partition(b"\n")[2] if start else data


def _object(line: bytes) -> dict[str, Any]:
    if not line.strip():
        return {}
    try:
        value = json.loads(line) if _SPECIAL.search(line) else msgspec.json.decode(line)
    except (ValueError, RecursionError):  # msgspec.DecodeError is a ValueError
        return {}
    return value if isinstance(value, dict) else {}


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST
    if isinstance(value, int):
        return -_LARGEST <= value < _LARGEST
    return value is None or isinstance(value, float)
