"""Names and sizes as people read them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.names import quoted, shown

__all__ = ["format_bytes", "listed", "quoted", "shown"]

_UNITS = ("kB", "MB", "GB", "TB", "PB")


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
