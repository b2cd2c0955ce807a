"""News on its way to the one who watches: what is not yet fetched is replaced by what is newer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio

from ...model.lifecycle import Observation

__all__ = ["Mailbox"]

_LETTERS_AT_ONCE = 500


class Mailbox:
    """At most one letter a submission, so it is bounded by what is open. An end is never replaced."""

    def __init__(self) -> None:
        self._letters: dict[str, Observation] = {}
        self._there = anyio.Event()

    def put(self, seen: Observation) -> None:
        """Tell; it goes out after everything put before."""
        waiting = self._letters.get(seen.submission)
        if waiting is not None and waiting.state.ended:
            return
        self._letters.pop(seen.submission, None)
        self._letters[seen.submission] = seen
        self._there.set()

    async def watch(self) -> AsyncIterator[Sequence[Observation]]:
        """Fetch for ever."""
        while True:
            await self._there.wait()
            names = [name for name, _ in zip(self._letters, range(_LETTERS_AT_ONCE), strict=False)]
            batch = [self._letters.pop(name) for name in names]
            if not self._letters:
                self._there = anyio.Event()
            if batch:
                yield batch
