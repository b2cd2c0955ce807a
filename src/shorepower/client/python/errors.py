"""What can go wrong with a call, besides what its function raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.errors import ShorepowerError
from ..errors import JobFailed

if TYPE_CHECKING:
    from ...model.job import Job

__all__ = ["CannotSend", "NoValue", "RemoteError", "WrongPython"]


class RemoteError(ShorepowerError):
    """What went wrong in a job, in words: the cause of a remote exception that is raised again, with the
    traceback of over there. It is raised itself where the exception cannot come here as it is, and for
    what ends a process (``sys.exit``)."""

    def __init__(self, message: str, *, type_name: str = "", traceback: str = "") -> None:
        super().__init__(message)
        self.type_name, self.traceback = type_name, traceback

    def __str__(self) -> str:
        said = super().__str__()
        return f"{said}\n\n{self.traceback.rstrip()}" if self.traceback else said


class NoValue(JobFailed):
    """The job ended, and its function gave no value: it was stopped, or its process was lost."""

    def __init__(self, job: Job, why: str = "") -> None:
        super().__init__(job)
        if why:
            self.args = (f"{job.name} ({job.id}): {why}",)


class CannotSend(ShorepowerError, TypeError):
    """A function or an argument cannot be pickled; nothing was submitted."""


class WrongPython(ShorepowerError):
    """The job would run another minor version of Python than pickled the function; nothing was
    submitted."""
