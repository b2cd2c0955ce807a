"""Amounts, ages and names as people read them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ...model.resources import format_duration

__all__ = ["age", "elapsed_s", "format_bytes", "listed", "percent", "short_id", "short_ids"]

_SHORT = 5


def format_bytes(size: float) -> str:
    """``41 kB``, ``4.2 GB``; powers of 1000, as disks are sold."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            amount = size / factor
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
    return f"{size:.0f} B"


def age(then: datetime, now: datetime) -> str:
    """How long ago, in one unit: ``4 s``, ``1 min``, ``3 h``, ``2 d``."""
    seconds = max((now - then).total_seconds(), 0.0)
    for unit, size, until in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 172_800)):
        if seconds < until:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds // 86_400)} d"


def elapsed_s(started: datetime | None, ended: datetime | None, now: datetime) -> float | None:
    """Seconds that something has run; None when it never started."""
    if started is None:
        return None
    return max(((ended or now) - started).total_seconds(), 0.0)


def took(started: datetime | None, ended: datetime | None) -> str:
    """How long something that ended ran; empty when it never started."""
    return format_duration((ended - started).total_seconds()) if started and ended else ""


def percent(fraction: float) -> str:
    """``40 %``."""
    return f"{min(max(fraction, 0.0), 1.0) * 100:.0f} %"


def short_id(job: str) -> str:
    """Enough of an id to recognise it by."""
    return job[:_SHORT]


def short_ids(jobs: Iterable[str]) -> dict[str, str]:
    """The shortest prefixes of at least five letters that tell these ids from each other."""
    ids = sorted(set(jobs))
    short: dict[str, str] = {}
    for place, job in enumerate(ids):
        length = _SHORT
        for other in ids[max(place - 1, 0) : place] + ids[place + 1 : place + 2]:
            while length < len(job) and other[:length] == job[:length]:
                length += 1
        short[job] = job[:length]
    return short


def listed(names: Iterable[str], most: int = 5) -> str:
    """``a, b, c and 12 more``."""
    every = list(names)
    if len(every) <= most + 1:
        return ", ".join(every)
    return f"{', '.join(every[:most])} and {len(every) - most} more"
