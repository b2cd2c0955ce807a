"""Everything shorepower says no with.

::

    ShorepowerError
    ├── InvalidRequest        the request itself is wrong; lists every fault at once
    │   └── Ambiguous         a prefix or name that fits several jobs
    ├── NotFound              no such thing, or not yours to know of
    ├── NotAllowed            known, but this caller may not
    ├── NotAuthenticated      who asks is unknown
    ├── Conflict              the same key with another body, or a move the state forbids
    ├── TooLarge              over a limit that the message names
    ├── Busy                  a bounded queue is full; come again after ``retry_after_s``
    ├── Unreachable           a scheduler or server did not answer: unknown, not dead
    ├── StorageFault          disk full, read-only, locked: nothing was accepted
    ├── SubmitRefused         a scheduler said no: nothing is queued there
    ├── UnknownSchedulerState a foreign word that no table knows
    └── StateDirectoryFault   the state directory cannot be used, with the reason in words
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

__all__ = [
    "Ambiguous",
    "Busy",
    "Conflict",
    "Fault",
    "InvalidRequest",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "ShorepowerError",
    "StateDirectoryFault",
    "StorageFault",
    "SubmitRefused",
    "TooLarge",
    "UnknownSchedulerState",
    "Unreachable",
    "names_no_job",
]


class Fault(Struct, frozen=True):
    """One thing wrong with a request: where, and what would be right."""

    field: str
    """The field of the request, dotted (``resources.memory_mib``), or the option as typed."""
    message: str
    """A sentence that names the valid choices."""


class ShorepowerError(Exception):
    """Base of all errors that carry a sentence meant for a person."""


class InvalidRequest(ShorepowerError):
    """The request is wrong; ``faults`` holds every reason found."""

    def __init__(self, faults: Sequence[Fault] | str) -> None:
        self.faults = (Fault("", faults),) if isinstance(faults, str) else tuple(faults)
        super().__init__("; ".join(fault.message for fault in self.faults))


def names_no_job(given: str) -> InvalidRequest:
    """It can be no id, no beginning of one and no name."""
    return InvalidRequest(f"{given!r} names no job: give an id, the beginning of one, @NAME, or @-1")


class Ambiguous(InvalidRequest):
    """A prefix or a name fits more than one job."""

    def __init__(self, given: str, fits: Sequence[str]) -> None:
        super().__init__(f"{given!r} fits several jobs: {', '.join(fits)}; give more letters")
        self.given, self.fits = given, tuple(fits)


class NotFound(ShorepowerError):
    """There is no such thing, or it is not this caller's to know of."""


class NotAllowed(ShorepowerError):
    """The thing is known to the caller, but this operation is not theirs."""


class NotAuthenticated(ShorepowerError):
    """Nobody knows who asks."""


class Conflict(ShorepowerError):
    """The request contradicts what is already recorded."""


class TooLarge(ShorepowerError):
    """Over a limit; the sentence names the limit and the size."""


class Busy(ShorepowerError):
    """A bounded queue is full; nothing was taken."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unreachable(ShorepowerError):
    """No answer: what was asked may or may not have happened."""


class StorageFault(ShorepowerError):
    """The disk refused (full, read-only, locked); the change was not made."""


class SubmitRefused(ShorepowerError):
    """The scheduler said no; nothing is queued there. Terminal for the submission."""


class UnknownSchedulerState(ShorepowerError):
    """A scheduler used a word that is in no table of ours."""


class StateDirectoryFault(ShorepowerError):
    """The state directory cannot be used; the sentence says why and what to do."""
