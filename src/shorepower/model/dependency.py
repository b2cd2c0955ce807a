"""What a job comes after: other jobs, or tasks of them. Pure."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from .lifecycle import State

__all__ = ["Dependency", "Want", "is_met", "is_never_met"]


class Want(StrEnum):
    """What must have become of the other job. Source: sbatch(1), --dependency: after, afterok, afterany."""

    START = "start"
    """It has started, or was stopped before it could."""
    OK = "ok"
    """It has completed."""
    ANY = "any"
    """It has ended, in whatever way."""


class Dependency(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job that another comes after."""

    job: str
    """Its id."""
    task: int | None = None
    """The index of one task of it; None is the whole job."""
    wants: Want = Want.OK


def is_met(wants: Want, state: State) -> bool:
    """Whether what is wanted is so. Once it is, it stays so."""
    if wants is Want.START:
        return state is not State.PENDING
    return state is State.COMPLETED if wants is Want.OK else state.ended


def is_never_met(wants: Want, state: State) -> bool:
    """Whether what is wanted cannot become so any more."""
    return wants is Want.OK and state.ended and state is not State.COMPLETED
