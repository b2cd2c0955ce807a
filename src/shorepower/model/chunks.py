"""Where the tasks of an array stand, packed: one letter a task, and figures of a fixed size. Pure.

Letters come in chunks, figures in blocks; a task's place in either follows from its position. What was
never written means "waiting", so that a million tasks that wait are nothing at all.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from math import isnan, nan

from msgspec import Struct

from .lifecycle import Reason, State

__all__ = [
    "BLOCK",
    "CHUNK",
    "ENDED_LETTERS",
    "MOST_RESTARTS",
    "WAITING",
    "Figures",
    "empty_block",
    "letter_of",
    "letters_of",
    "meaning_of",
    "read_figures",
    "restarted",
    "runs_of",
    "source_mark",
    "tally",
    "write_figures",
]

CHUNK = 4096
"""So many letters are kept together."""
BLOCK = 256
"""So many figures are kept together; a chunk is a whole number of blocks."""

# A letter tells the state, and of an ended task the reason. Stored: a letter never gets another meaning.
_LETTERS: dict[tuple[State, Reason | None], str] = {
    (State.PENDING, None): "P",
    (State.RUNNING, None): "R",
    (State.SUSPENDED, None): "S",
    (State.COMPLETED, None): "C",
    (State.FAILED, None): "f",
    (State.FAILED, Reason.EXIT_CODE): "F",
    (State.FAILED, Reason.SIGNAL): "G",
    (State.FAILED, Reason.OUT_OF_MEMORY): "M",
    (State.FAILED, Reason.TIME_LIMIT): "T",
    (State.FAILED, Reason.NODE_LOST): "N",
    (State.FAILED, Reason.PREEMPTED): "E",
    (State.FAILED, Reason.LAUNCH): "L",
    (State.FAILED, Reason.LOST): "O",
    (State.FAILED, Reason.ABANDONED): "A",
    (State.CANCELED, None): "x",
    (State.CANCELED, Reason.STOPPED): "X",
    (State.CANCELED, Reason.KILLED): "K",
    (State.CANCELED, Reason.DEPENDENCY): "D",
}
_CODES = {meaning: ord(letter) for meaning, letter in _LETTERS.items()}
_MEANINGS = {code: meaning for meaning, code in _CODES.items()}
WAITING = _CODES[State.PENDING, None]
ENDED_LETTERS = frozenset(code for (state, _), code in _CODES.items() if state.ended)


def letter_of(state: State, reason: Reason | None) -> int:
    """The letter of a task. A reason of a living state, or one that no table knows for it, is left out."""
    return _CODES.get((state, reason)) or _CODES[state, None]


def meaning_of(letter: int) -> tuple[State, Reason | None]:
    """Raises KeyError for a letter that no version has written."""
    return _MEANINGS[letter]


def letters_of(states: Iterable[State]) -> bytes:
    """Every letter of these states."""
    wanted = set(states)
    return bytes(sorted(code for code, (state, _) in _MEANINGS.items() if state in wanted))


def runs_of(letters: bytes, wanted: bytes) -> Iterator[tuple[int, int]]:
    """The spans in which every letter is one of the wanted."""
    for run in re.finditer(b"[" + wanted + b"]+", letters):
        yield run.span()


def tally(letters: bytes) -> dict[int, int]:
    """How often each letter occurs."""
    return {code: number for code in _MEANINGS if (number := letters.count(code))}


class Figures(Struct, frozen=True, kw_only=True):
    """What is kept of one task beside its letter."""

    exit_code: int | None = None
    signal: int | None = None
    restart: int = 0
    attempt: int = 1
    started_at: float | None = None
    """Seconds since 1970."""
    wall_time_s: float | None = None
    cpu_time_s: float | None = None
    peak_memory_mib: float | None = None
    seen_at: float = float("-inf")
    """``as_of`` of the observation that last moved it while it lived …"""
    seen_by: int = 0
    """… and the mark of its source."""


_FORM = struct.Struct("<hBBHxxddfffI")
_RESTART_AT = 4
_NOTHING = _FORM.pack(-1, 0, 1, 0, nan, float("-inf"), nan, nan, nan, 0)
_MOST_EXIT, _MOST_SIGNAL, _MOST_ATTEMPT = 32_767, 255, 255
MOST_RESTARTS = 65_535
"""A task has no more of them on record."""


def empty_block() -> bytearray:
    """A block in which nothing is known of any task."""
    return bytearray(_NOTHING * BLOCK)


def write_figures(block: bytearray, at: int, figures: Figures) -> None:
    """From now on these are the figures of the block's task ``at``."""
    _FORM.pack_into(
        block,
        at * _FORM.size,
        -1 if figures.exit_code is None else max(0, min(figures.exit_code, _MOST_EXIT)),
        min(figures.signal or 0, _MOST_SIGNAL),
        min(figures.attempt, _MOST_ATTEMPT),
        min(figures.restart, MOST_RESTARTS),
        _or_nan(figures.started_at),
        figures.seen_at,
        _or_nan(figures.wall_time_s),
        _or_nan(figures.cpu_time_s),
        _or_nan(figures.peak_memory_mib),
        figures.seen_by,
    )


def read_figures(block: bytes | bytearray, at: int) -> Figures:
    """What is known of the block's task ``at``."""
    (code, number, attempt, restart, started, seen_at, wall, cpu, peak, seen_by) = _FORM.unpack_from(
        block, at * _FORM.size
    )
    return Figures(
        exit_code=None if code < 0 else code,
        signal=number or None,
        restart=restart,
        attempt=attempt,
        started_at=_or_none(started),
        wall_time_s=_rounded(wall),
        cpu_time_s=_rounded(cpu),
        peak_memory_mib=_rounded(peak),
        seen_at=seen_at,
        seen_by=seen_by,
    )


def restarted(block: bytes | bytearray) -> bool:
    """Whether the scheduler has started a task of the block again."""
    return any(block[_RESTART_AT :: _FORM.size]) or any(block[_RESTART_AT + 1 :: _FORM.size])


def source_mark(source: str) -> int:
    """What stands for the name of a source."""
    return zlib.crc32(source.encode())


def _or_nan(figure: float | None) -> float:
    return nan if figure is None else figure


def _rounded(figure: float) -> float | None:
    """Without the digits that a short form has made up."""
    return None if isnan(figure) else float(f"{figure:.7g}")


def _or_none(figure: float) -> float | None:
    return None if isnan(figure) else figure
