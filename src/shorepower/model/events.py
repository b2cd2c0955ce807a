"""News of jobs, in one order that survives restarts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

__all__ = ["Event"]


class Event(Struct, frozen=True, kw_only=True):
    """One line of the journal."""

    v: int = 1
    seq: int
    """Durable sequence; the event id everywhere."""
    at: datetime
    type: str
    """``job.submitted``, ``job.state``, ``job.control``, ``job.results``, ``job.forgotten``."""
    job: str
    owner: str
    body: dict[str, Any] = {}
    """For ``job.*``: the changed fields of the job."""
