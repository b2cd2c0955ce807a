"""The store in one SQLite file: one writer thread with group commit, and reader threads.

Nothing else in the same process may open ``store.db`` as a plain file while it is in use: closing
that descriptor would drop SQLite's locks. Source: https://sqlite.org/howtocorrupt.html, §2.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .store import SqliteStore, Tuning, open_store

__all__ = ["SqliteStore", "Tuning", "open_store"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import store

        return getattr(store, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
