"""Results come home: a user's file is never overwritten, nothing leaves the target, all can be undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..model.job import Job
from ..model.results import FileEntry
from .ledger import Ledger

__all__ = ["ATTACHED_LIMIT_BYTES", "PullReport", "Target", "choose_target", "machine_id", "pull", "undo"]

ATTACHED_LIMIT_BYTES = 1 << 30


class Target(Struct, frozen=True, kw_only=True):
    """Where results go."""

    folder: Path
    at_home: bool
    """It is the project that the job came from: what was sent counts as ours there."""
    why: str
    """In words, for the line on stderr."""


class PullReport(Struct, frozen=True, kw_only=True):
    """What a pull did; paths are relative to the target, as text."""

    folder: Path
    written: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...] = ()
    """(the path it would have had, where it was put instead): there lies a file of the user's, a
    notebook that ran, a name that this system cannot hold."""
    unchanged: tuple[str, ...] = ()
    left: tuple[tuple[str, int, str], ...] = ()
    """(path, bytes, why) of what was not fetched: over the limit, or a later job's result is there."""
    faults: tuple[str, ...] = ()
    """Sentences; not empty means that something did not come home."""
    notes: tuple[str, ...] = ()
    size_bytes: int = 0
    """Fetched now."""

    @property
    def complete(self) -> bool:
        """Everything that was asked for is home."""
        return not self.faults and not any(why == "over the limit" for _, _, why in self.left)


def machine_id() -> str:
    """An identity of this machine that survives renaming it, for `Origin.host`."""
    raise NotImplementedError


def choose_target(job: Job, *, cwd: Path, to: Path | None = None, machine: str | None = None) -> Target:
    """``--to DIR``; else the project the job came from, on that machine while the folder is there; else
    ``./<name>-<id>/``. Nothing is made yet."""
    raise NotImplementedError


def pull(
    job: Job,
    entries: Sequence[FileEntry],
    target: Target,
    *,
    fetch: Callable[[Sequence[Mapping[str, Any]]], Iterable[tuple[Mapping[str, Any], bytes]]],
    blob: Callable[[str], bytes],
    tree: str | None,
    ledger: Ledger,
    script: str = "",
    globs: Sequence[str] = (),
    limit_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PullReport:
    """Write the results of a job into its target.

    ``entries`` is the answer of ``GET /v1/jobs/{job}/files``; ``fetch`` does one ``files:read`` with the
    ``entries`` of its body and yields (header, bytes) of each frame; ``blob`` reads a tree object
    (``GET /v1/blobs/{digest}``) and ``tree`` is the job's `JobSpec.tree`, by which a file that was sent
    is known again. ``script`` is the script's path in the project: a notebook comes home as
    ``x.<id>.ipynb``. ``limit_bytes``: what is fetched at most; the rest is ``left``. ``progress`` hears
    (bytes done, bytes in all). Going on after a break, or a kill, fetches only what is not here yet.
    Raises what ``fetch`` and ``blob`` raise, and InvalidRequest when the target cannot be used.
    """
    raise NotImplementedError


def undo(job_id: str, ledger: Ledger) -> PullReport:
    """Put back what pulls of this job replaced, and remove what they added.

    A file that was changed since stays and is named. Raises NotFound when no pull of the job is known.
    """
    raise NotImplementedError
