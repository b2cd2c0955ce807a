"""Who is sending files right now: what they have sent and no job names yet is not to be cleared away."""

from __future__ import annotations

from ..host.contract import Clock

__all__ = ["Uploads"]


class Uploads:
    """On one event loop. An upload begins with a question or a blob and ends with a submit, or when
    nothing was heard of it for a while."""

    def __init__(self, clock: Clock, idle_s: float) -> None:
        self._clock, self._idle_s = clock, idle_s
        self._heard: dict[str, float] = {}

    def heard(self, user: str) -> None:
        """A sign of life of an upload."""
        self._heard[user] = self._clock.steady()

    def over(self, user: str) -> None:
        """What was sent is named by a job now."""
        self._heard.pop(user, None)

    def going_on(self, user: str) -> bool:
        """Whether more may come, and a job that names it."""
        heard = self._heard.get(user)
        return heard is not None and self._clock.steady() - heard < self._idle_s
