"""Where things lie below the state directory, and the figures the dispatcher goes by."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

__all__ = ["DispatchSettings", "Places"]

DAY_S = 86_400.0


class Places(Struct, frozen=True, kw_only=True):
    """The folders of one state directory."""

    state_dir: Path

    @property
    def blobs(self) -> Path:
        """Content-addressed files."""
        return self.state_dir / "blobs"

    @property
    def spool(self) -> Path:
        """Output, fences and exit records of the local cluster."""
        return self.state_dir / "spool"

    @property
    def secrets(self) -> Path:
        """One 0600 file for each living job that has secrets."""
        return self.state_dir / "secrets"

    def work(self, submission: str) -> Path:
        """The working folder of one submission."""
        return self.state_dir / "work" / submission

    def project(self, submission: str) -> Path:
        """The staged project of one submission."""
        return self.work(submission) / "project"


class DispatchSettings(Struct, frozen=True, kw_only=True):
    """Figures an administrator may change."""

    results_keep_s: float = 30 * DAY_S
    warn_s: float = 3 * DAY_S
    """Results that nobody fetched go so long after a command has shown that they do."""
    unwarned_keep_s: float = 30 * DAY_S
    """For how much longer they are kept while nobody comes to be warned."""
    output_keep_s: float = 90 * DAY_S
    record_keep_s: float = 365 * DAY_S
    budget_bytes: int | None = None
    """What blobs and results may take together; None: the smaller of 20 GB and 10 % of the disk."""
    handover_batch: int = 64
    """Submissions handed over together."""
    stage_workers: int = 2
    collect_workers: int = 2
    blob_lease_s: float = 3600.0
    upload_idle_s: float = 300.0
    """So long after the last sign of an upload nobody expects it to go on."""
    retry_first_s: float = 0.5
    retry_most_s: float = 30.0
    control_repeat_s: float = 5.0
    info_period_s: float = 5.0
    expire_period_s: float = 600.0
    look_timeout_s: float = 2.0
    idle_grace_s: float = 0.0
