"""Which processes belong to which job: by session, by group, by descent, by what the environment says."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from .processes import Process, ancestors, environment, sweep

__all__ = ["MARKS", "Families", "Family"]

MARKS = (b"SHOREPOWER_JOB_ID", b"SHOREPOWER_ATTEMPT", b"SHOREPOWER_TASK_INDEX")
"""Variables that name a job's processes wherever they have gone. Nothing else identifies a stray."""


_Key = tuple[int, int]
"""A pid and a start time: one process."""


class Family(Struct, frozen=True, kw_only=True):
    """How the processes of one attempt are recognised."""

    leader: int
    """The wrapper's pid: number of the session and of the group it began; 0 if it is not known."""
    start_time: int
    """The leader's. Nothing older belongs to the family."""
    marks: tuple[bytes, ...]
    """The values of `MARKS`, in order."""


class Families:
    """Sorts the processes of this machine into families, all families in one pass.

    Environments are read once a process, and only of this user's processes that no session or
    group explains: what a process forks has the environment of its parent until it runs another
    program, so a stray is recognised at once or never. Who was recognised once stays recognised, also when
    its parent has died.
    """

    def __init__(self) -> None:
        self._marks: dict[_Key, tuple[bytes, ...] | None] = {}
        self._known: dict[_Key, str] = {}
        self._lock = threading.Lock()
        """Around changes of these two; sorting itself may go on in several threads."""

    def sort(
        self, families: Mapping[str, Family], processes: Sequence[Process] | None = None
    ) -> dict[str, list[Process]]:
        """The living processes of each family, its leader included; never this one or its parents."""
        seen = sweep() if processes is None else processes
        own = ancestors(os.getpid(), seen)
        strangers = [one for one in seen if one.pid not in own]
        with self._lock:
            known, marks = dict(self._known), dict(self._marks)
        owner = _by_number(families, strangers)
        for one in strangers:
            if one.pid not in owner and (name := known.get(_key(one))) in families:
                owner[one.pid] = name
        read = _by_mark(families, strangers, owner, marks)
        _by_descent(strangers, owner)
        sorted_: dict[str, list[Process]] = {name: [] for name in families}
        for one in strangers:
            if (name := owner.get(one.pid)) is not None:
                sorted_[name].append(one)
        self._remember(seen, sorted_, read)
        return sorted_

    def _remember(
        self,
        seen: Sequence[Process],
        sorted_: Mapping[str, list[Process]],
        read: Mapping[_Key, tuple[bytes, ...] | None],
    ) -> None:
        living = {_key(one) for one in seen}
        with self._lock:
            self._known = {key: name for key, name in self._known.items() if key in living}
            self._known |= {_key(one): name for name, tree in sorted_.items() for one in tree}
            self._marks = {key: marks for key, marks in self._marks.items() if key in living}
            self._marks |= read


def _key(one: Process) -> _Key:
    return one.pid, one.start_time


def _by_number(families: Mapping[str, Family], seen: Sequence[Process]) -> dict[int, str]:
    """By the session or the group that the family's leader began, if the number is still the leader's."""
    led = {family.leader: name for name, family in families.items() if family.leader}
    start_of = {one.pid: one.start_time for one in seen if one.pid in led}
    owner: dict[int, str] = {}
    for one in seen:
        name = led.get(one.session, led.get(one.group))
        if name is None:
            continue
        family = families[name]
        reused = start_of.get(family.leader, family.start_time) != family.start_time
        if not reused and one.start_time >= family.start_time:
            owner[one.pid] = name
    return owner


def _by_mark(
    families: Mapping[str, Family],
    seen: Sequence[Process],
    owner: dict[int, str],
    known: Mapping[_Key, tuple[bytes, ...] | None],
) -> dict[_Key, tuple[bytes, ...] | None]:
    """By environment; what was read for it now."""
    marked = {family.marks: name for name, family in families.items()}
    read: dict[_Key, tuple[bytes, ...] | None] = {}
    for one in seen:
        if one.pid in owner:
            continue
        key = _key(one)
        if key not in known:
            read[key] = _marks_of(one.pid)
        marks = known[key] if key in known else read[key]
        name = marked.get(marks) if marks else None
        if name is not None and one.start_time >= families[name].start_time:
            owner[one.pid] = name
    return read


def _marks_of(pid: int) -> tuple[bytes, ...] | None:
    told: dict[bytes, bytes] = {}
    for entry in environment(pid) or ():
        name, _, value = entry.partition(b"=")
        if name in MARKS:
            told[name] = value
    if MARKS[0] not in told or MARKS[1] not in told:
        return None
    return tuple(told.get(name, b"0") for name in MARKS)


def _by_descent(seen: Iterable[Process], owner: dict[int, str]) -> None:
    """Children of a family's living processes belong to it."""
    children: dict[int, list[Process]] = {}
    for one in seen:
        children.setdefault(one.parent, []).append(one)
    todo = list(owner)
    while todo:
        parent = todo.pop()
        for child in children.get(parent, ()):
            if child.pid not in owner:
                owner[child.pid] = owner[parent]
                todo.append(child.pid)
