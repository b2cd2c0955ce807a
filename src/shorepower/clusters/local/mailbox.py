"""News on its way to the one who watches: what is not yet fetched is replaced by what is newer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio

from ...model.lifecycle import Observation
from ...model.tasks import TaskSet

__all__ = ["Mailbox"]

_AT_ONCE = 500
_CROWDED = 20_000


class Mailbox:
    """Bounded by what is open, and for arrays by `crowded`: a newer letter of the same state replaces an
    older one, and an end replaces everything. Moves between living states are all told, because somebody
    may wait for one of them."""

    def __init__(self) -> None:
        self._letters: dict[tuple[str, TaskSet], list[Observation]] = {}
        self._there = anyio.Event()

    @property
    def crowded(self) -> bool:
        """Nobody has fetched anything for long. Short tasks of an array end so quickly that letters could
        fill the memory: nothing more should start."""
        return len(self._letters) > _CROWDED

    def put(self, seen: Observation) -> None:
        """Tell. Letters about the same tasks of a submission go out in the order they were put in."""
        waiting = self._letters.setdefault((seen.submission, seen.tasks), [])
        if waiting and waiting[-1].state.ended:
            return
        if seen.state.ended:
            waiting.clear()
        elif waiting and waiting[-1].state is seen.state:
            waiting.pop()
        waiting.append(seen)
        self._there.set()

    async def watch(self) -> AsyncIterator[Sequence[Observation]]:
        """Fetch for ever."""
        while True:
            await self._there.wait()
            about = [tasks for tasks, _ in zip(self._letters, range(_AT_ONCE), strict=False)]
            batch = [seen for tasks in about for seen in self._letters.pop(tasks)]
            if not self._letters:
                self._there = anyio.Event()
            if batch:
                yield batch
