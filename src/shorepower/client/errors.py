"""What can go wrong between a client and its server, besides what the server says no with.

::

    ShorepowerError           (see shorepower.model.errors)
    ├── JobFailed             a job that was waited for ended badly
    ├── ServerFault           the server itself failed; nothing is known about the request
    ├── VersionMismatch       client and server are too far apart to work together
    ├── LeftRunning           waiting was given up; the job goes on
    └── Unreachable
        ├── Cut           the connection ended before the answer did
        ├── NotOurs           something answered, but no shorepower server: a proxy, another program
        └── NotStarted        the private server did not start; the sentence holds its last words
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..model.errors import ShorepowerError, Unreachable

if TYPE_CHECKING:
    from ..model.job import Job

__all__ = ["Cut", "JobFailed", "LeftRunning", "NotOurs", "NotStarted", "ServerFault", "VersionMismatch"]


class JobFailed(ShorepowerError):
    """A job that was waited for ended as FAILED or CANCELED; ``job`` tells how."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.name} ({job.id}) {job.state.value.lower()}: {job.why or job.reason or ''}")
        self.job = job


class ServerFault(ShorepowerError):
    """The server failed while it answered."""


class VersionMismatch(ShorepowerError):
    """Client and server are more than one minor version apart."""


class LeftRunning(ShorepowerError):
    """Waiting ended before the job did."""

    def __init__(self, job: Job, message: str) -> None:
        super().__init__(message)
        self.job = job


class Cut(Unreachable):
    """The connection ended before the answer did: whether anything happened is not known."""


class NotOurs(Unreachable):
    """What answered is no shorepower server, or a proxy before one that is away."""


class NotStarted(Unreachable):
    """The private server was started and never answered."""
