"""What jobs leave in the state directory besides results: secrets, and folders of what never started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog
from anyio import CapacityLimiter, to_thread

from ..files.remove import remove
from ..model.errors import ShorepowerError, StorageFault
from ..model.job import Job, split_submission_id
from ..model.lifecycle import Phase
from ..model.results import ResultsState
from ..store.contract import Snapshot, Store
from .places import Places

__all__ = ["Leftovers"]

log = structlog.get_logger(__name__)


class Leftovers:
    """Takes them away: at the moment they are of no use, and at the start what a dead server left."""

    def __init__(self, store: Store, places: Places) -> None:
        self._store, self._places = store, places
        self._disk = CapacityLimiter(1)

    async def drop_secrets(self, jobs: Iterable[Job]) -> None:
        """Those of jobs that ended; the others keep theirs."""
        ended = [job.id for job in jobs if job.state.ended]
        if ended:
            await to_thread.run_sync(_unlink, self._places.secrets, ended, limiter=self._disk)

    async def drop_empty(self, submissions: Sequence[str]) -> None:
        """Working folders in which nothing was left."""
        works = [self._places.work(submission) for submission in submissions]
        await to_thread.run_sync(_drop_empty, works, limiter=self._disk)

    async def drop_work(self, submissions: Iterable[str]) -> None:
        """Working folders that nothing will ever start in."""
        for submission in submissions:
            await to_thread.run_sync(_try_remove, self._places.work(submission), limiter=self._disk)

    async def sweep_secrets(self) -> None:
        """Of jobs that ended or were never recorded; before any comes in, as its secrets come first."""
        names = await to_thread.run_sync(_names, self._places.secrets, limiter=self._disk)
        if names:
            gone = await self._store.read(lambda view: [name for name in names if not _lives(view, name)])
            await to_thread.run_sync(_unlink, self._places.secrets, gone, limiter=self._disk)

    async def sweep_work(self) -> None:
        """Folders laid out for what was stopped before it was handed over, or for jobs that are gone."""
        names = await to_thread.run_sync(_names, self._places.work(""), limiter=self._disk)
        try:
            gone = await self._store.read(lambda view: [name for name in names if _is_idle(view, name)])
        except ShorepowerError as fault:
            log.warning("no sweep this time", cause=type(fault).__name__)
        else:
            await self.drop_work(gone)


def _drop_empty(works: Sequence[Path]) -> None:
    for work in works:
        try:
            for folder in (work / "results", work / "values", work / "project", work):
                folder.rmdir()
        except OSError:
            _try_remove(work)


def _try_remove(work: Path) -> None:
    try:
        remove(work)
    except StorageFault as fault:  # the sweep of the next start finds it again
        log.warning("a working folder stays", submission=work.name, why=str(fault))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _unlink(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _lives(view: Snapshot, job_id: str) -> bool:
    job = view.job(job_id)
    return job is not None and not job.state.ended


def _is_idle(view: Snapshot, name: str) -> bool:
    """Whether a working folder is nobody's: what is no submission's name is not ours to judge."""
    try:
        job_id, _ = split_submission_id(name)
    except ValueError:
        return False
    job, submission = view.job(job_id), view.submission(name)
    if job is None or submission is None:
        return True
    if submission.phase is not Phase.CLOSED:
        return False
    return not submission.workdir or job.results.state is ResultsState.EXPIRED
