"""What goes first when a private server keeps too much. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

__all__ = ["Choice", "Kept", "budget_of", "choose"]

_MOST_BYTES = 20_000_000_000


class Kept(Struct, frozen=True, kw_only=True):
    """The results of one ended job with its output, or its output alone."""

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
    """Jobs whose results and output go now, in this order."""
    drop_output: tuple[str, ...] = ()
    """Jobs without results whose output goes now, in this order."""
    warn: tuple[str, ...] = ()
    """Jobs that would be next but were never pulled: to be shown to their owner for long enough first."""
    blobs_bytes: int = 0
    """How much of the blobs that no job holds should go, the longest unused first."""
    over_bytes: int = 0
    """What stays above the budget even so."""


def budget_of(disk_bytes: int) -> int:
    """What a private server keeps at most: 20 GB or a tenth of the disk, whichever is less."""
    return min(_MOST_BYTES, disk_bytes // 10)


def choose(
    kept: Sequence[Kept],
    output: Sequence[Kept] = (),
    *,
    unheld_blobs_bytes: int,
    held_blobs_bytes: int,
    budget_bytes: int,
    warned_before: datetime,
) -> Choice:
    """Unheld blobs first (they only save a second sending), then results by oldest pull, then output by
    oldest end, then unpulled results whose warning was shown before ``warned_before``, oldest end first.

    Unpulled ones that would be needed too but were not warned of, or only lately, wait for that.
    """
    over = (
        sum(one.size_bytes for one in (*kept, *output))
        + unheld_blobs_bytes
        + held_blobs_bytes
        - budget_bytes
    )
    if over <= 0:
        return Choice()
    blobs = min(over, unheld_blobs_bytes)
    over -= blobs
    mine = [one for one in kept if not one.for_good and one.size_bytes > 0]
    pulled = sorted((one for one in mine if one.pulled_at), key=lambda one: (one.pulled_at, one.job))
    unpulled = sorted((one for one in mine if not one.pulled_at), key=lambda one: (one.ended_at, one.job))
    said = sorted(
        (one for one in output if one.size_bytes > 0),
        key=lambda one: (one.ended_at, one.job),
    )
    drop: list[str] = []
    silent: list[str] = []
    warn: list[str] = []
    freed = promised = 0
    for one, is_output in (
        *((one, False) for one in pulled),
        *((one, True) for one in said),
        *((one, False) for one in unpulled),
    ):
        if freed + promised >= over:
            break
        if is_output:
            silent.append(one.job)
            freed += one.size_bytes
            continue
        if one.pulled_at or (one.warned_at is not None and one.warned_at <= warned_before):
            drop.append(one.job)
            freed += one.size_bytes
        else:
            warn.append(one.job)
            promised += one.size_bytes
    return Choice(
        drop=tuple(drop),
        drop_output=tuple(silent),
        warn=tuple(warn),
        blobs_bytes=blobs,
        over_bytes=max(0, over - freed),
    )
