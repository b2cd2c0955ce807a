"""What came out of a job, and how far it is on its way home."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

__all__ = ["FileEntry", "ResultsState", "ResultsSummary"]


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
    """``project``: goes home to the same place; ``results``: to ``shore-results/<name>-<id>/``."""
