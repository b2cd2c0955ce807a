"""Names and sizes as people read them. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["format_bytes", "listed", "shown"]

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def shown(name: str | bytes) -> str:
    """A name with everything that could move a cursor, or is not UTF-8, written as an escape."""
    text = os.fsdecode(name) if isinstance(name, bytes) else name
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode holds it
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape", "surrogatepass").decode()


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 7 more``; each name as `shown`."""
    first = ", ".join(shown(name) for name in names[:most])
    return first if len(names) <= most else f"{first} and {len(names) - most} more"


def format_bytes(count: float) -> str:
    """``512 B``, ``41 kB``, ``4.2 GB``; decimal, as disks are sold."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        if count < 999.5 or unit == _UNITS[-1]:
            break
    digits = f"{count:.1f}" if count < 9.95 else f"{count:.0f}"
    return f"{digits.removesuffix('.0')} {unit}"
