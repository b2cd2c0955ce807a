"""How news of the tasks of an array changes what is recorded; runs inside a unit of work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from ..model.array import Numbering
from ..model.chunks import (
    ENDED_LETTERS,
    Figures,
    letter_of,
    letters_of,
    meaning_of,
    runs_of,
    source_mark,
    tally,
)
from ..model.job import Job, Submission
from ..model.lifecycle import Attempt, Observation, Reason, State, combine
from ..model.resources import counted
from ..model.tasks import TaskSet
from ..model.usage import Usage
from ..store.contract import Transaction
from .ledger import Ledger

__all__ = ["DISPATCHER", "TaskMetrics", "fold_tasks", "has_figures"]

DISPATCHER = "dispatcher"
"""The source of what no cluster saw."""
_MOST_FAILED = 10_000
"""So many failed tasks have a row that tells why; of the others the letter does."""
_NAMED = 5
"""So many failed tasks are named in the sentence about the job."""

TaskMetrics = Mapping[tuple[str, int], bytes]
"""JSON of what ended tasks wrote of themselves, by (submission, position)."""


def fold_tasks(
    tx: Transaction, job: Job, submission: Submission, news: Sequence[Observation], metrics: TaskMetrics
) -> Job | None:
    """Fold observations of an array in; how the job stands then, not written yet. None: nothing was new.

    Each task goes by the rules of `model.lifecycle.advance`, with one stamp for the moves between its
    living states. Letters, figures, metrics and rows of failed tasks are written; operations on tasks
    that have all ended are dropped.
    """
    batch = _Batch(tx, job, submission, metrics)
    for seen in news:
        batch.fold(seen)
    return batch.told()


class _Batch:
    """What one batch of news of one submission does to its job."""

    def __init__(self, tx: Transaction, job: Job, submission: Submission, metrics: TaskMetrics) -> None:
        self._tx, self._job, self._submission, self._metrics = tx, job, submission, metrics
        self._ledger = Ledger(tx, job)
        self._rows = job.counts.get(State.FAILED, 0)
        """How many failed tasks may have a row by now."""
        self._usage = job.usage or Usage()
        self._started_at, self._ended_at = job.started_at, job.ended_at
        self._host = job.host
        self._waits: Observation | None = None
        """The newest word on why tasks wait."""
        self._said = ""
        """What the dispatcher itself says of an end that many have in common."""

    def fold(self, seen: Observation) -> None:
        """One observation."""
        tasks = seen.tasks & self._submission.tasks
        if seen.state is State.PENDING:
            self._waits = seen
            if not seen.restart:
                return  # within the first start nothing goes back to waiting
        if seen.state.ended and not has_figures(seen):
            ended = self._ledger.end(tasks, letter_of(seen.state, seen.reason), seen.restart)
            self._ended(seen, ended)
            return
        for position in tasks:
            self._fold_one(seen, position)

    def _fold_one(self, seen: Observation, position: int) -> None:
        letter = self._ledger.letter(position)
        if letter in ENDED_LETTERS:
            return
        was = self._ledger.figures(position)
        if seen.restart < was.restart or (not seen.state.ended and _is_stale(seen, was, letter)):
            return
        told = _figures(seen, was)
        after = letter_of(seen.state, seen.reason if seen.state.ended else None)
        if after == letter and replace(told, seen_at=was.seen_at, seen_by=was.seen_by) == was:
            return
        self._ledger.put(position, after, told)
        self._host = self._host or seen.host
        if told.started_at is not None:
            started_at = datetime.fromtimestamp(told.started_at, UTC)
            self._started_at = min(self._started_at or started_at, started_at)
        if seen.state.ended:
            self._use(seen, told)
            self._ended(seen, TaskSet.of([position]))

    def _use(self, seen: Observation, told: Figures) -> None:
        """The job used what its tasks used, one after another; its peak is that of the largest."""
        used = seen.usage or Usage()
        self._usage = Usage(
            wall_time_s=self._usage.wall_time_s + (told.wall_time_s or 0.0),
            cpu_time_s=self._usage.cpu_time_s + used.cpu_time_s,
            peak_memory_mib=max(self._usage.peak_memory_mib, used.peak_memory_mib),
        )

    def _ended(self, seen: Observation, tasks: TaskSet) -> None:
        if not tasks:
            return
        if seen.ended_at is not None:
            self._ended_at = max(self._ended_at or seen.ended_at, seen.ended_at)
        if seen.source == DISPATCHER:
            self._said = seen.why
        elif seen.state is State.FAILED:
            self._write_rows(seen, tasks)
        name = self._submission.id
        found = (
            {task: self._metrics[name, task] for task in tasks if (name, task) in self._metrics}
            if (self._metrics)
            else {}
        )
        self._tx.put_task_metrics(self._job.id, found)

    def _write_rows(self, seen: Observation, tasks: TaskSet) -> None:
        for position in tasks:
            if self._rows >= _MOST_FAILED:
                return
            self._rows += 1
            self._tx.put_attempt(
                Attempt(
                    job=self._job.id,
                    task=position,
                    number=self._submission.attempt,
                    submission=self._submission.id,
                    restart=seen.restart,
                    state=seen.state,
                    reason=seen.reason,
                    why=seen.why,
                    exit_code=seen.exit_code,
                    signal=seen.signal,
                    host=seen.host,
                    started_at=seen.started_at,
                    ended_at=seen.ended_at,
                    usage=seen.usage,
                )
            )

    def told(self) -> Job | None:
        """The job as it stands now; None when nothing has changed."""
        moved = self._ledger.moved
        counts = {
            state: number
            for state in State
            if (number := self._job.counts.get(state, 0) + moved[state]) > 0
        }
        changed = self._ledger.keep(self._tx)
        state = combine(counts)
        told = replace(
            self._job,
            state=state,
            counts=counts,
            host=self._host,
            started_at=self._started_at,
            usage=self._usage if self._usage != Usage() else None,
        )
        if state.ended:
            reason, why = self._end(counts)
            return replace(told, reason=reason, why=why, ended_at=self._ended_at)
        if state is State.PENDING:
            waits = self._waits
            told = replace(told, reason=waits.reason, why=waits.why) if waits is not None else told
        elif changed:
            told = replace(told, reason=None, why=_so_far(counts, self._job.task_count))
        if any(moved.values()) and self._drop_met():
            changed = True
        return told if changed or told != self._job else None

    def _drop_met(self) -> bool:
        """Operations on tasks that have all ended are over."""
        met = [one for one in self._tx.task_controls(job=self._job.id) if not self._ledger.lives(one.tasks)]
        for control in met:
            self._tx.drop_task_control(control.job, control.serial)
        return bool(met)

    def _end(self, counts: Mapping[State, int]) -> tuple[Reason | None, str]:
        """Why the job ended: the commonest reason of what went worst, and a sentence that names some."""
        letters: dict[int, int] = {}
        failed: list[int] = []
        wanted = letters_of([State.FAILED])
        for start, chunk in self._ledger.chunks():
            for letter, number in tally(chunk).items():
                letters[letter] = letters.get(letter, 0) + number
            if len(failed) < _NAMED:
                runs = runs_of(chunk, wanted)
                failed += [start + at for first, stop in runs for at in range(first, stop)][:_NAMED]
        state = combine(dict(counts))
        reasons = [(number, letter) for letter, number in letters.items() if meaning_of(letter)[0] is state]
        reason = meaning_of(max(reasons)[1])[1]
        return reason, self._sentence(counts, failed[:_NAMED])

    def _sentence(self, counts: Mapping[State, int], failed: Sequence[int]) -> str:
        total, failures = self._job.task_count, counts.get(State.FAILED, 0)
        canceled = counts.get(State.CANCELED, 0)
        said = f": {self._said}" if self._said else ""
        if failures:
            which = "" if failures == total else self._named(failed, failures)
            return f"{_of(failures, total)} failed{which}{said}"
        if canceled:
            return f"{_of(canceled, total)} canceled{said}"
        return f"{_of(total, total)} done"

    def _named(self, positions: Iterable[int], number: int) -> str:
        spec = self._tx.spec(self._job.id)
        assert spec is not None and spec.array is not None  # a job and its spec are written together
        numbering = Numbering(spec.array.ranges)
        named = [str(numbering.index(position)) for position in positions]
        more = number - len(named)
        return f": {', '.join(named)}" + (f" and {more:,} more" if more else "")


def has_figures(seen: Observation) -> bool:
    """Whether an end tells more of a task than that it ended, and why."""
    told = (seen.exit_code, seen.signal, seen.started_at, seen.usage)
    return any(one is not None for one in told)


def _is_stale(seen: Observation, was: Figures, letter: int) -> bool:
    """Whether news of a living task is old."""
    by_same = was.seen_by == source_mark(seen.source)
    if by_same and (seen.restart, seen.as_of) <= (was.restart, was.seen_at):
        return True
    waits = seen.state is State.PENDING and meaning_of(letter)[0] is not State.PENDING
    return seen.restart == was.restart and waits


def _figures(seen: Observation, was: Figures) -> Figures:
    started_at = seen.started_at.timestamp() if seen.started_at is not None else was.started_at
    told = replace(
        was,
        restart=seen.restart,
        started_at=started_at,
        seen_at=seen.as_of,
        seen_by=source_mark(seen.source),
    )
    if not seen.state.ended:
        return told
    used = seen.usage
    wall_time_s = used.wall_time_s if used is not None and used.wall_time_s else None
    if wall_time_s is None and started_at is not None and seen.ended_at is not None:
        wall_time_s = max(0.0, seen.ended_at.timestamp() - started_at)
    return replace(
        told,
        exit_code=seen.exit_code,
        signal=seen.signal,
        wall_time_s=wall_time_s,
        cpu_time_s=used.cpu_time_s if used is not None else None,
        peak_memory_mib=used.peak_memory_mib if used is not None else None,
    )


def _of(number: int, total: int) -> str:
    """``3 of 100 tasks``, ``all 100 tasks``."""
    return (
        f"all {counted(total, 'task')}"
        if number == total > 1
        else f"{number:,} of {counted(total, 'task')}"
    )


def _so_far(counts: Mapping[State, int], total: int) -> str:
    """``12 of 100 tasks done, 3 failed``."""
    told = [f"{counts.get(State.COMPLETED, 0):,} of {counted(total, 'task')} done"]
    for state, word in ((State.FAILED, "failed"), (State.CANCELED, "canceled")):
        if number := counts.get(state):
            told.append(f"{number:,} {word}")
    return ", ".join(told)
