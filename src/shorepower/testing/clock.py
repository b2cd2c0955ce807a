"""A clock that only moves when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ..host.contract import Clock

__all__ = ["FakeClock"]


class FakeClock(Clock):
    """Starts at a moment (now, if none is given) and stands still."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime.now(UTC)
        self._steady = 1000.0

    def now(self) -> datetime:
        return self._now

    def steady(self) -> float:
        return self._steady

    def advance(self, seconds: float) -> None:
        """Time passes."""
        self._now += timedelta(seconds=seconds)
        self._steady += seconds

    def jump(self, seconds: float) -> None:
        """Somebody sets the clock, back or forth: no time passes."""
        self._now += timedelta(seconds=seconds)
