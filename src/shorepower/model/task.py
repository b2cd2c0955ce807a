"""How one task of an array stands, as people and programs are told."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from .lifecycle import Reason, State

__all__ = ["Task"]


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of ``/v1/jobs/{id}/tasks``."""

    index: int
    """The user's own number."""
    state: State
    reason: Reason | None = None
    """Of a task that failed or was stopped."""
    why: str = ""
    attempt: int = 1
    exit_code: int | None = None
    signal: int | None = None
    started_at: datetime | None = None
    wall_time_s: float | None = None
    cpu_time_s: float | None = None
    peak_memory_mib: float | None = None
    parameters: dict[str, str] = {}
    """What the grid or the array file says for it."""
    metrics: dict[str, float | int | bool | str | None] = {}
    """The latest value of each name that the task wrote into ``SHOREPOWER_METRICS``."""
