"""Tasks as a table: what each was given, how it ended, what it took, what it measured.

Nothing grows in memory with the number of tasks: they are kept in a file, a JSON line each.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from tempfile import TemporaryFile
from typing import IO, BinaryIO

import msgspec
from msgspec import Struct

from ..model.decoding import json_decoder
from ..model.task import Task

__all__ = ["Gathered", "gather", "spelled", "write_csv"]

_BEFORE = ("index",)
_BETWEEN = ("state", "reason", "exit_code", "seconds", "peak_memory_mib")


class Gathered(Struct, frozen=True, kw_only=True):
    """Tasks, and all the names that occur among them."""

    file: BinaryIO
    """In a file without a name."""
    parameters: tuple[str, ...]
    metrics: tuple[str, ...]
    count: int

    def __iter__(self) -> Iterator[Task]:
        decoder = json_decoder(Task)
        self.file.seek(0)
        for line in self.file:
            yield decoder.decode(line)

    def headings(self) -> tuple[str, ...]:
        """Names of all columns; one that two kinds have says which it is (``metrics.lr``)."""
        own = {*_BEFORE, *_BETWEEN}
        parameters = [f"parameters.{name}" if name in own else name for name in self.parameters]
        taken = own | set(parameters)
        metrics = [f"metrics.{name}" if name in taken else name for name in self.metrics]
        return (*_BEFORE, *parameters, *_BETWEEN, *metrics)

    def cells(self, task: Task) -> tuple[str, ...]:
        """A task's row, under the headings."""
        return (
            str(task.index),
            *(task.parameters.get(name, "") for name in self.parameters),
            task.state.value,
            task.reason.value if task.reason else "",
            _exit_code(task),
            "" if task.wall_time_s is None else f"{task.wall_time_s:.3f}",
            f"{task.peak_memory_mib:.1f}" if task.peak_memory_mib else "",  # 0: it was never seen
            *(spelled(task.metrics.get(name)) for name in self.metrics),
        )


def gather(tasks: Iterable[Task]) -> Gathered:
    """All of them, in their order."""
    kept = TemporaryFile()  # noqa: SIM115 - it lives as long as the table
    parameters: dict[str, None] = {}
    metrics: dict[str, None] = {}
    count = 0
    encoder = msgspec.json.Encoder()
    for task in tasks:
        parameters.update(dict.fromkeys(task.parameters))
        metrics.update(dict.fromkeys(task.metrics))
        kept.write(encoder.encode(task) + b"\n")
        count += 1
    return Gathered(file=kept, parameters=tuple(parameters), metrics=tuple(metrics), count=count)


def write_csv(table: Gathered, out: IO[str]) -> None:
    """As CSV: values as they are, quoted where they hold a comma, a quote or a line's end."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows(chain([table.headings()], map(table.cells, table)))


def spelled(value: float | bool | str | None) -> str:
    """A metric as it was written."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _exit_code(task: Task) -> str:
    """As a shell tells it: 128 and the signal's number where one ended it."""
    if task.exit_code is not None:
        return str(task.exit_code)
    return str(128 + task.signal) if task.signal else ""
