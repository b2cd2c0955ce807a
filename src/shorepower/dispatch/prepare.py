"""The working folder of a submission: the staged project, the results folder, standard input."""

from __future__ import annotations

import errno
from pathlib import Path

from ..files.blobs import BlobStore
from ..files.stage import stage
from ..model.errors import InvalidRequest, StorageFault
from ..model.job import JobSpec

__all__ = ["prepare"]

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


def _lay_out(blobs: BlobStore, spec: JobSpec, work: Path) -> None:
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    (work / "results").mkdir(exist_ok=True)
    if spec.in_place:
        (work / "project").mkdir(exist_ok=True)
    else:
        stage(blobs, spec.tree, work / "project", links=spec.links)
        (work / "project" / spec.workdir).mkdir(parents=True, exist_ok=True)
    if spec.stdin:
        with (work / "stdin").open("wb") as file:
            for digest in spec.stdin:
                file.write(blobs.get(digest))
