"""What came out of a job, and how far it is on its way home."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

__all__ = ["ExpiringJob", "ExpiringResults", "FileEntry", "ResultsState", "ResultsSummary"]


class ResultsState(StrEnum):
    """How the results of a job stand, apart from the job's own state."""

    NONE = "none"
    SAVING = "saving"
    READY = "ready"
    PARTIAL = "partial"
    """Some files could not be listed or read; the working directory is kept."""
    FAILED = "failed"
    """Nothing could be collected; the working directory is kept."""
    EXPIRED = "expired"


class ResultsSummary(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many results there are, and until when."""

    state: ResultsState = ResultsState.NONE
    file_count: int = 0
    size_bytes: int = 0
    why: str = ""
    expires_at: datetime | None = None
    pulled_at: datetime | None = None
    """When everything had come home."""
    warned_at: datetime | None = None
    """When a command had shown its user that they are about to go, though nobody fetched them."""


class ExpiringJob(Struct, frozen=True, kw_only=True):
    """Results that nobody fetched and that are about to go."""

    id: str
    name: str
    file_count: int
    size_bytes: int
    goes_at: datetime
    """Not before; they go when there is no room, or when their time is over."""
    for_room: bool = False
    """They go to make room, earlier than their time is over."""


class ExpiringResults(Struct, frozen=True, kw_only=True):
    """What a caller is to be warned of."""

    as_of: datetime
    """To be sent back once it was shown."""
    count: int = 0
    size_bytes: int = 0
    first_at: datetime | None = None
    """When the first of them goes."""
    jobs: tuple[ExpiringJob, ...] = ()
    """The first to go come first; at most 1000 of them."""


class FileEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One path of a listing; exactly one of ``path`` and ``path_b64`` is given."""

    path: str = ""
    """Relative to the project, ``/`` between parts."""
    path_b64: str = ""
    """The same as base64 where the name is not UTF-8."""
    kind: str
    """``file``, ``link`` or ``dir``."""
    mode: int = 0o644
    mtime_ns: int = 0
    size_bytes: int = 0
    digest: str = ""
    """``sha256:<hex>`` of the whole content; empty while the job runs."""
    target: str = ""
    """Where a link points."""
    target_b64: str = ""
    """The same as base64 where it is not UTF-8."""
    area: str = "project"
    """``project``: goes home to the same place; ``results``: to ``shore-results/<name>-<id>/``; ``tasks``:
    there too, the path begins with the index of the task that wrote it."""
