"""A store that is gone when it is closed: the same SQL on a private database in memory."""

from __future__ import annotations

from .sqlite.connect import MEMORY
from .sqlite.store import SqliteStore, Tuning, open_store

__all__ = ["open_memory_store"]


async def open_memory_store(*, tuning: Tuning | None = None) -> SqliteStore:
    """Open an empty one. Reads and writes go through its one connection."""
    return await open_store(MEMORY, tuning=tuning)
