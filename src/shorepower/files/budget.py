"""What goes first when a private server keeps too much. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

__all__ = ["Choice", "Kept", "budget_of", "choose"]

GIB = 1 << 30


class Kept(Struct, frozen=True, kw_only=True):
    """The results of one ended job."""

    job: str
    size_bytes: int
    ended_at: datetime
    pulled_at: datetime | None = None
    """None: nobody has fetched them."""
    warned_at: datetime | None = None
    """When a command has shown that they are about to go."""
    for_good: bool = False
    """Somebody asked to keep them (``shore keep``): never chosen."""


class Choice(Struct, frozen=True, kw_only=True):
    """What to do to come below the budget."""

    drop: tuple[str, ...] = ()
    """Jobs whose results go now, in this order."""
    warn: tuple[str, ...] = ()
    """Jobs that would be next but were never pulled: to be shown to their owner first."""
    blobs_bytes: int = 0
    """How much of the blobs that no job holds should go, the longest unused first."""
    over_bytes: int = 0
    """What stays above the budget even so."""


def budget_of(disk_bytes: int) -> int:
    """What a private server keeps at most: 20 GB or a tenth of the disk, whichever is less."""
    raise NotImplementedError


def choose(
    kept: Sequence[Kept],
    *,
    unheld_blobs_bytes: int,
    held_blobs_bytes: int,
    budget_bytes: int,
    warned_before: datetime,
) -> Choice:
    """Unheld blobs first (they only save a second sending), then results by oldest pull, then unpulled
    ones whose warning was shown before ``warned_before``, oldest end first."""
    raise NotImplementedError
