"""Who starts next on this machine. Pure.

The oldest job that fits starts. So small ones pass a big one that does not fit; once it has been passed
for longer than `PATIENCE_S`, nobody passes it any more until it has started. The work for one start does
not grow with the number that waits: jobs that ask the same stand in one line, and only the heads of the
oldest lines are looked at.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from ...model.resources import Resources, counted, format_memory
from .machine import Gpu, Machine

__all__ = ["LOOK_AHEAD", "PATIENCE_S", "Demand", "Grant", "Queue", "Waiting", "demand_of"]

PATIENCE_S = 300.0
"""How long others may pass a job that does not fit."""
LOOK_AHEAD = 64
"""How many lines are looked at for one that fits."""


class Demand(Struct, frozen=True):
    """What a job takes while it runs. Thousandths of a cpu, so that sums are exact."""

    cpus_milli: int
    memory_mib: int = 0
    gpu_count: int = 0
    gpu_type: str | None = None


class Grant(Struct, frozen=True):
    """What a job was given; comes back whole."""

    demand: Demand
    gpus: tuple[str, ...] = ()


class Waiting(Struct, frozen=True):
    """How a job waits: its place, and what it waits for."""

    name: str
    place: int
    """1 is the next."""
    missing: str
    """What it asks that is not free (``4 cpus (1 of 8 free)``); empty: it only waits its turn."""
    never: bool = False
    """The whole machine does not have what it asks; ``missing`` says what."""


class _Entry:
    __slots__ = ("demand", "gone", "name", "number", "passed_at")

    def __init__(self, name: str, number: int, demand: Demand) -> None:
        self.name, self.number, self.demand = name, number, demand
        self.gone = False
        self.passed_at: float | None = None


def demand_of(asked: Resources, machine: Machine) -> Demand:
    """What an order counts as: at least one cpu (or the whole machine, if that is less), and 0 memory
    unless it says otherwise. Source: the contract, §3."""
    cpus = asked.cpu_count if asked.cpu_count is not None else min(1.0, machine.cpu_count)
    return Demand(
        cpus_milli=round(cpus * 1000),
        memory_mib=asked.memory_mib or 0,
        gpu_count=asked.gpu_count or 0,
        gpu_type=asked.gpu_type if asked.gpu_count else None,
    )


class Queue:
    """The jobs that wait, and what is free."""

    def __init__(self, machine: Machine, patience_s: float = PATIENCE_S) -> None:
        self.machine, self._patience_s = machine, patience_s
        self.cpus_free = round(machine.cpu_count * 1000)
        self.memory_free_mib = machine.memory_mib
        self._gpus_free = list(machine.gpus)
        self._lines: dict[Demand, deque[_Entry]] = {}
        self._heads: list[tuple[int, Demand]] = []
        """A heap: (number of a line's first, its line). What does not fit its line is passed over."""
        self._pushed: set[tuple[int, Demand]] = set()
        """What is in the heap."""
        self._entries: dict[str, _Entry] = {}
        self._never: dict[str, _Entry] = {}
        """Jobs that ask more than the whole machine: it was larger when they were taken."""
        self._next_number = 0

    def __len__(self) -> int:
        return len(self._entries) + len(self._never)

    def __contains__(self, name: str) -> bool:
        return name in self._entries or name in self._never

    def lacks(self, demand: Demand) -> str:
        """What the whole machine does not have for this, in words; empty: it could run."""
        whole = self.machine
        gpus = [gpu for gpu in whole.gpus if demand.gpu_type in (None, gpu.kind)]
        words = []
        if demand.cpus_milli > round(whole.cpu_count * 1000):
            words.append(
                f"asks {counted(demand.cpus_milli / 1000, 'cpu')}; this machine has {whole.cpu_count:g}"
            )
        if demand.memory_mib > whole.memory_mib:
            has = format_memory(whole.memory_mib)
            words.append(
                f"asks {format_memory(demand.memory_mib)} of memory; this machine has {has} for jobs"
            )
        if demand.gpu_count > len(gpus):
            kind = f" of type {demand.gpu_type}" if demand.gpu_type else ""
            words.append(f"asks {counted(demand.gpu_count, 'GPU')}{kind}; this machine has {len(gpus)}")
        return ", and ".join(words)

    def add(self, name: str, demand: Demand, number: int | None = None) -> int:
        """Stand at the end, or in the place that an array had before it gave a task; the number of the
        place. Known names are left where they stand."""
        if (known := self._entries.get(name) or self._never.get(name)) is not None:
            return known.number
        if number is None:
            number, self._next_number = self._next_number, self._next_number + 1
        entry = _Entry(name, number, demand)
        if self.lacks(demand):
            self._never[name] = entry
            return number
        self._entries[name] = entry
        line = self._lines.setdefault(demand, deque())
        if not line or number < line[0].number:
            self._push(number, demand)
        _insert(line, entry)
        return number

    def remove(self, name: str) -> bool:
        """Leave without having started; False when it does not wait here."""
        entry = self._entries.pop(name, None) or self._never.pop(name, None)
        if entry is None:
            return False
        entry.gone = True  # its line drops it when it comes to the front
        return True

    def take(self, now: float) -> tuple[str, Grant] | None:
        """The next that may start, with what it is given; None when nobody may."""
        seen: list[_Entry] = []
        chosen: _Entry | None = None
        for head in self._oldest_heads(LOOK_AHEAD):
            if self._fits(head.demand):
                chosen = head
                break
            seen.append(head)
            if head.passed_at is not None and now - head.passed_at >= self._patience_s:
                break  # it has waited long enough: the machine empties for it
        for head in seen:
            self._push(head.number, head.demand)
            if chosen is not None and head.passed_at is None:
                head.passed_at = now
        if chosen is None:
            return None
        del self._entries[chosen.name]
        line = self._lines[chosen.demand]
        line.popleft()
        self._line_up(chosen.demand)
        return chosen.name, self._give(chosen.demand)

    def hold(self, demand: Demand, gpus: tuple[str, ...] = ()) -> Grant:
        """Count a job that runs already, even if that is more than the machine has."""
        self.cpus_free -= demand.cpus_milli
        self.memory_free_mib -= demand.memory_mib
        self._gpus_free = [gpu for gpu in self._gpus_free if gpu.number not in gpus]
        return Grant(demand, gpus)

    def give_back(self, grant: Grant) -> None:
        """It has ended."""
        self.cpus_free += grant.demand.cpus_milli
        self.memory_free_mib += grant.demand.memory_mib
        free = {gpu.number for gpu in self._gpus_free}
        self._gpus_free += [
            gpu for gpu in self.machine.gpus if gpu.number in grant.gpus and gpu.number not in free
        ]

    def first(self, count: int) -> list[Waiting]:
        """The first so many in line, in order; those that can never run come last."""
        lines = [self._living(line) for line in self._lines.values()]
        waiting = [
            Waiting(entry.name, place, self._missing(entry.demand))
            for place, entry in enumerate(
                _upto(count, heapq.merge(*lines, key=lambda entry: entry.number)), start=1
            )
        ]
        never = [
            Waiting(entry.name, len(self._entries) + place, self.lacks(entry.demand), never=True)
            for place, entry in enumerate(_upto(count - len(waiting), iter(self._never.values())), start=1)
        ]
        return waiting + never

    def _oldest_heads(self, most: int) -> Iterator[_Entry]:
        """Takes heads off the heap, oldest first; whoever asks puts back what it does not use."""
        while most and self._heads:
            number, demand = head = heapq.heappop(self._heads)
            self._pushed.discard(head)
            if demand not in self._lines:
                continue
            first = self._front(demand)
            if first is None:
                del self._lines[demand]
            elif number < first.number:
                self._push(first.number, demand)
            elif number == first.number:
                most -= 1
                yield first

    def _push(self, number: int, demand: Demand) -> None:
        head = (number, demand)
        if head not in self._pushed:
            self._pushed.add(head)
            heapq.heappush(self._heads, head)

    def _front(self, demand: Demand) -> _Entry | None:
        line = self._lines[demand]
        while line and line[0].gone:
            line.popleft()
        return line[0] if line else None

    def _line_up(self, demand: Demand) -> None:
        """Put a line whose head was taken back on the heap."""
        if (head := self._front(demand)) is not None:
            self._push(head.number, demand)
        else:
            del self._lines[demand]

    @staticmethod
    def _living(line: deque[_Entry]) -> Iterator[_Entry]:
        return (entry for entry in line if not entry.gone)

    def _gpus_for(self, demand: Demand) -> list[Gpu]:
        return [gpu for gpu in self._gpus_free if demand.gpu_type in (None, gpu.kind)]

    def _fits(self, demand: Demand) -> bool:
        return (
            demand.cpus_milli <= self.cpus_free
            and demand.memory_mib <= self.memory_free_mib
            and (not demand.gpu_count or demand.gpu_count <= len(self._gpus_for(demand)))
        )

    def _give(self, demand: Demand) -> Grant:
        gpus = tuple(gpu.number for gpu in self._gpus_for(demand)[: demand.gpu_count])
        return self.hold(demand, gpus)

    def _missing(self, demand: Demand) -> str:
        words = []
        if demand.cpus_milli > self.cpus_free:
            free, whole = max(0, self.cpus_free) / 1000, self.machine.cpu_count
            words.append(f"{counted(demand.cpus_milli / 1000, 'cpu')} ({free:g} of {whole:g} free)")
        if demand.memory_mib > self.memory_free_mib:
            free_mib = format_memory(max(0, self.memory_free_mib))
            words.append(f"{format_memory(demand.memory_mib)} of memory ({free_mib} free)")
        if demand.gpu_count > (free_gpus := len(self._gpus_for(demand))):
            words.append(f"{counted(demand.gpu_count, 'GPU')} ({free_gpus} free)")
        return " and ".join(words)


def _insert(line: deque[_Entry], entry: _Entry) -> None:
    """By number. Nearly always that is one of the two ends."""
    if not line or line[-1].number < entry.number:
        line.append(entry)
        return
    at = 0
    while line[at].number < entry.number:
        at += 1
    line.insert(at, entry)


def _upto(count: int, entries: Iterator[_Entry]) -> Iterator[_Entry]:
    for _, entry in zip(range(count), entries, strict=False):
        yield entry
