"""The working folder of a submission: the staged project, the results folder, standard input."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from ..files.blobs import BlobStore
from ..files.stage import stage
from ..model.errors import InvalidRequest, StorageFault
from ..model.job import JobSpec

__all__ = ["is_untouched", "prepare"]

_PASSING = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
}
"""What may be over when it is tried again."""


def prepare(blobs: BlobStore, spec: JobSpec, work: Path) -> None:
    """Lay out what the job starts in; doing it again starts over. Blocking.

    ::

        work/project/   the snapshot, where the job starts (empty when in place)
        work/results/   SHOREPOWER_RESULTS_DIR
        work/stdin      standard input, where one was sent

    Raises StorageFault (try again later), InvalidRequest (the snapshot cannot be laid out).
    """
    try:
        _lay_out(blobs, spec, work)
    except OSError as error:
        if error.errno in _PASSING:
            raise StorageFault(f"the working folder cannot be made: {error.strerror}") from error
        raise InvalidRequest(f"{error.strerror}: {error.filename}") from error


def is_untouched(work: Path) -> bool:
    """Whether a job that was given no files has left none: there is nothing to collect. Blocking."""
    try:
        names = set(os.listdir(work))  # noqa: PTH208 - speed
        return names == _EMPTY and not any(os.listdir(work / name) for name in names)  # noqa: PTH208 - speed
    except OSError:
        return False


_EMPTY = {"project", "results"}


def _lay_out(blobs: BlobStore, spec: JobSpec, work: Path) -> None:
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    (work / "results").mkdir(exist_ok=True)
    if spec.in_place or (spec.tree is None and not spec.links):
        (work / "project").mkdir(exist_ok=True)
    else:
        stage(blobs, spec.tree, work / "project", links=spec.links)
    if spec.workdir and not spec.in_place:
        (work / "project" / spec.workdir).mkdir(parents=True, exist_ok=True)
    if spec.stdin:
        with (work / "stdin").open("wb") as file:
            for digest in spec.stdin:
                file.write(blobs.get(digest))
