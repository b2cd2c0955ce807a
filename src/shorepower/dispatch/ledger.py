"""Where the tasks of one array stand, inside one unit of work: read as needed, written once at its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..model.chunks import (
    BLOCK,
    CHUNK,
    WAITING,
    Figures,
    empty_block,
    letter_of,
    letters_of,
    meaning_of,
    read_figures,
    restarted,
    runs_of,
    write_figures,
)
from ..model.job import Job
from ..model.lifecycle import State
from ..model.tasks import TaskSet
from ..store.contract import Snapshot, Transaction

__all__ = ["LIVING", "Ledger", "tasks_in"]

LIVING = frozenset(state for state in State if not state.ended)
_READ_AHEAD = 64
"""So many chunks are looked at together when all are."""
_BLOCKS = CHUNK // BLOCK


class Ledger:
    """Letters and figures of a job's tasks, by position. Nothing is written before `keep`."""

    def __init__(self, view: Snapshot, job: Job) -> None:
        self._view, self._job, self._count = view, job.id, job.task_count
        self._letters: dict[int, bytearray] = {}
        self._figures: dict[int, bytearray | None] = {}
        self._changed_letters: set[int] = set()
        self._changed_figures: set[int] = set()
        self.moved: Counter[State] = Counter()
        """By how much the number of tasks in each state has changed."""

    def letter(self, position: int) -> int:
        """Where a task stands; see `model.chunks`."""
        return self._chunk(position // CHUNK)[position % CHUNK]

    def figures(self, position: int) -> Figures:
        """What is known of a task beside its letter."""
        block = self._block(position // BLOCK)
        return Figures() if block is None else read_figures(block, position % BLOCK)

    def put(self, position: int, letter: int, figures: Figures) -> None:
        """A task moves."""
        chunk = self._chunk(position // CHUNK)
        before = chunk[position % CHUNK]
        if before != letter:
            self._count_move(before, letter, 1)
            chunk[position % CHUNK] = letter
            self._changed_letters.add(position // CHUNK)
        block = self._block(position // BLOCK)
        if block is None:
            block = self._figures[position // BLOCK] = empty_block()
        write_figures(block, position % BLOCK, figures)
        self._changed_figures.add(position // BLOCK)

    def end(self, tasks: TaskSet, letter: int, restart: int) -> TaskSet:
        """All of these that live, and were not started again later than ``restart``, end in the same way;
        which these were. Figures stay as they are."""
        ended: list[tuple[int, int]] = []
        for number, start, stop in self._parts(tasks):
            chunk = self._chunk(number)
            one_by_one = self._restarted(number)
            for first, last in runs_of(bytes(chunk[start:stop]), _LIVING_LETTERS):
                base = number * CHUNK + start
                ended += self._end_run(base + first, base + last, letter, restart, one_by_one)
        return TaskSet.joined(ended)

    def _end_run(
        self, start: int, stop: int, letter: int, restart: int, one_by_one: bool
    ) -> list[tuple[int, int]]:
        spans = [(start, stop)]
        if one_by_one:
            fits = (at for at in range(start, stop) if self.figures(at).restart <= restart)
            spans = list(TaskSet.of(fits).spans)
        for first, last in spans:
            number = first // CHUNK
            chunk, begin, end = self._chunk(number), first % CHUNK, first % CHUNK + last - first
            for living in _LIVING_LETTERS:
                self._count_move(living, letter, chunk.count(living, begin, end))
            chunk[begin:end] = bytes([letter]) * (end - begin)
            self._changed_letters.add(number)
        return spans

    def _restarted(self, chunk: int) -> bool:
        first, last = chunk * _BLOCKS, (chunk + 1) * _BLOCKS - 1
        kept: dict[int, bytes | bytearray] = {**self._view.task_figures(self._job, first, last)}
        for number in range(first, last + 1):
            if mine := self._figures.get(number):
                kept[number] = mine
        return any(map(restarted, kept.values()))

    def living(self, tasks: TaskSet) -> TaskSet:
        """Those of these that have not ended."""
        return TaskSet.joined(self._living(tasks))

    def lives(self, tasks: TaskSet) -> bool:
        """Whether one of these has not ended."""
        return next(self._living(tasks), None) is not None

    def _living(self, tasks: TaskSet) -> Iterator[tuple[int, int]]:
        for number, start, stop in self._parts(tasks):
            base = number * CHUNK + start
            for first, last in runs_of(bytes(self._chunk(number)[start:stop]), _LIVING_LETTERS):
                yield base + first, base + last

    def chunks(self, begin: int = 0) -> Iterator[tuple[int, bytes]]:
        """(position of the first, letters) of all tasks from a chunk on, in order."""
        last = (self._count - 1) // CHUNK
        for first in range(begin, last + 1, _READ_AHEAD):
            kept = self._view.task_letters(self._job, first, min(first + _READ_AHEAD - 1, last))
            for number in range(first, min(first + _READ_AHEAD, last + 1)):
                mine = self._letters.get(number)
                yield number * CHUNK, bytes(mine) if mine is not None else self._padded(number, kept)

    def keep(self, tx: Transaction) -> bool:
        """Write what has changed; whether there was any."""
        if self._changed_letters:
            chunks = {number: bytes(self._letters[number]) for number in self._changed_letters}
            tx.put_task_letters(self._job, chunks)
        if self._changed_figures:
            blocks = {number: bytes(self._figures[number] or b"") for number in self._changed_figures}
            tx.put_task_figures(self._job, blocks)
        changed = bool(self._changed_letters or self._changed_figures)
        self._changed_letters.clear()
        self._changed_figures.clear()
        return changed

    def _parts(self, tasks: TaskSet) -> Iterator[tuple[int, int, int]]:
        """(chunk, start and stop inside it) of a set."""
        for start, stop in tasks.spans:
            at, stop = max(start, 0), min(stop, self._count)
            while at < stop:
                end = min((at // CHUNK + 1) * CHUNK, stop)
                yield at // CHUNK, at % CHUNK, (end - 1) % CHUNK + 1
                at = end

    def _chunk(self, number: int) -> bytearray:
        found = self._letters.get(number)
        if found is None:
            kept = self._view.task_letters(self._job, number, number)
            found = self._letters[number] = bytearray(self._padded(number, kept))
        return found

    def _padded(self, number: int, kept: dict[int, bytes]) -> bytes:
        return kept.get(number) or bytes([WAITING]) * min(CHUNK, self._count - number * CHUNK)

    def _block(self, number: int) -> bytearray | None:
        if number not in self._figures:
            kept = self._view.task_figures(self._job, number, number).get(number)
            self._figures[number] = None if kept is None else bytearray(kept)
        return self._figures[number]

    def _count_move(self, before: int, after: int, tasks: int) -> None:
        if tasks:
            self.moved[meaning_of(before)[0]] -= tasks
            self.moved[meaning_of(after)[0]] += tasks


_LIVING_LETTERS = bytes(sorted(letter_of(state, None) for state in LIVING))


def tasks_in(view: Snapshot, job: Job, *states: State) -> TaskSet:
    """The tasks of an array that are in one of these states."""
    wanted = letters_of(states)
    return TaskSet.joined(
        (start + first, start + stop)
        for start, letters in Ledger(view, job).chunks()
        for first, stop in runs_of(letters, wanted)
    )
