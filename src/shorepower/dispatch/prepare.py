"""The working folder of a submission: the staged project, folders for what comes out, what goes in."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from ..files.blobs import BlobStore
from ..files.stage import stage
from ..model.errors import InvalidRequest, ShorepowerError, StorageFault
from ..model.job import JobSpec

__all__ = ["ARRAY_FOLDERS", "is_untouched", "judged", "prepare"]

ARRAY_FOLDERS = ("tasks", "inputs", "values", "metrics", "progress")
"""Each holds something for every task; see `tasks`."""

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
        work/values/    SHOREPOWER_RESULT is the file 0 in it
        work/stdin      standard input, where one was sent
        work/input      SHOREPOWER_INPUT, where one was sent

    For an array the snapshot is read-only, and the folders are those of `tasks`.
    Raises StorageFault (try again later), InvalidRequest (the snapshot cannot be laid out).
    """
    try:
        _lay_out(blobs, spec, work)
    except OSError as error:
        raise judged(error) from error


def judged(error: OSError) -> ShorepowerError:
    """That a working folder cannot be made: now (StorageFault), or at all (InvalidRequest)."""
    if error.errno in _PASSING:
        return StorageFault(f"the working folder cannot be made: {error.strerror}")
    return InvalidRequest(f"{error.strerror}: {error.filename}")


def is_untouched(work: str) -> bool:
    """Whether a job that was given no files has left none: there is nothing to collect. Blocking."""
    try:
        names = set(os.listdir(work))  # noqa: PTH208 - speed
        return names <= _EMPTY and not any(os.listdir(f"{work}/{name}") for name in names)  # noqa: PTH208 - speed
    except OSError:
        return False


_PLAIN_FOLDERS = ("results", "values")
_EMPTY = {"project", *_PLAIN_FOLDERS}


def _lay_out(blobs: BlobStore, spec: JobSpec, work: Path) -> None:
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in ARRAY_FOLDERS if spec.array is not None else _PLAIN_FOLDERS:
        (work / folder).mkdir(exist_ok=True)
    if spec.in_place or (spec.tree is None and not spec.links):
        (work / "project").mkdir(exist_ok=True)
    else:
        stage(blobs, spec.tree, work / "project", links=spec.links, read_only=spec.array is not None)
    if spec.workdir and not spec.in_place and spec.array is None:
        (work / "project" / spec.workdir).mkdir(parents=True, exist_ok=True)
    if spec.stdin:
        _put(work / "stdin", map(blobs.get, spec.stdin))
    if spec.input is not None:
        _put(work / "input", map(blobs.get, spec.input.blobs) if spec.input.blobs else [spec.input.inline])
    if spec.array is not None and spec.array.rows:
        _put(work / "rows", map(blobs.get, spec.array.rows))


def _put(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
