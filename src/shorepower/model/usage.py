"""What a task really used."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["Usage"]


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Figures of one attempt so far, or of its whole life once it ended."""

    wall_time_s: float = 0.0
    cpu_time_s: float = 0.0
    """User and system time of the whole process tree."""
    peak_memory_mib: float = 0.0
    """Largest resident size of the tree in any sweep, or of its largest single process if that
    was more (short tasks end between two sweeps)."""
    memory_mib: float = 0.0
    """Resident size of the tree in the newest sweep."""
    process_count: int = 0
