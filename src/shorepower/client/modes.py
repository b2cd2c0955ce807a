"""Permissions that a job changed come home too, where the file is ours to change."""

from __future__ import annotations

import os
import stat

from ..model.job import Job
from .landing import Landing
from .ledger import Book, Line, was_mode

__all__ = ["change_mode", "permissions", "wanted_mode"]


def permissions(status: os.stat_result) -> int:
    """The nine bits that travel."""
    return stat.S_IMODE(status.st_mode) & 0o777


def wanted_mode(now: int, made: int, job: Job, *, given: Line | None, sent: int | None, umask: int) -> int:
    """The permissions for a file whose content is right: ``now`` are those at home, ``made`` the job's.

    Of a file that a pull gave its permissions (``given``): those of the job, while they are as that pull
    left them and it was of no later job. Of one that was ``sent``: with what the job added and without
    what it took away. Else they are the user's.
    """
    if given is not None:
        is_ours = given.mode == now and given.created_at <= job.created_at
        return made & ~umask if is_ours else now
    if sent is None:
        return now
    return (now | (made & ~sent & ~umask)) & ~(sent & ~made)


def change_mode(
    landing: Landing, book: Book, job: Job, path: str, content: str, before: os.stat_result, mode: int
) -> None:
    """Do it, then note it: if only the first step is done, a later pull finds it done.

    Raises OSError, InTheWay, and FileExistsError when another file is there by now.
    """
    landing.change_mode(path, mode, before)
    was = was_mode(permissions(before))
    book.note(Line(job=job.id, created_at=job.created_at, path=path, content=content, was=was, mode=mode))
