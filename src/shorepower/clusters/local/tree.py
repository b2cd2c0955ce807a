"""All processes of one attempt, signalled together. Blocking; takes some milliseconds.

To reach every process exactly once the tree is frozen first: the wrapper's group at one stroke, others
one by one until no new one turns up. A process that has a stop signal pending cannot fork. Each
process is signalled through a pidfd after its start time was compared.
"""

from __future__ import annotations

import os
import signal

from ...host.families import Families, Family
from ...host.processes import Process, find, send

__all__ = ["Tree"]

_ROUNDS = 200
"""How often a tree that keeps growing is looked at anew before the rest is left to the next call."""


class Tree:
    """The processes of one attempt; the wrapper is told apart from the rest."""

    def __init__(self, family: Family, families: Families) -> None:
        self._family, self._families = family, families

    def members(self) -> list[Process]:
        """Everything living but the wrapper."""
        tree = self._families.sort({"": self._family})[""]
        return [one for one in tree if not self._is_wrapper(one)]

    def terminate(self) -> int:
        """SIGTERM to every member, also to stopped ones; how many there were."""
        members = self._freeze()
        for one in members:
            send(one.pid, one.start_time, signal.SIGTERM)
        self._thaw(members)
        return len(members)

    def kill(self) -> int:
        """SIGKILL to every member; how many there were. The wrapper goes on and records the end."""
        members = self._freeze()
        for one in members:
            send(one.pid, one.start_time, signal.SIGKILL)
        self._thaw([])
        return len(members)

    def suspend(self) -> None:
        """Stop everything, the wrapper included: that it is stopped says that the job is suspended."""
        self._freeze()

    def resume(self) -> None:
        """Let everything go on."""
        self._thaw(self.members())

    def kill_wrapper(self) -> None:
        """The last resort."""
        send(self._family.leader, self._family.start_time, signal.SIGKILL)

    def send_to_rest(self, number: int) -> int:
        """Signal what is left once the wrapper has ended; how many there were."""
        members = self._freeze() if number == signal.SIGKILL else self.members()
        for one in members:
            send(one.pid, one.start_time, number)
        return len(members)

    def _is_wrapper(self, one: Process) -> bool:
        return (one.pid, one.start_time) == (self._family.leader, self._family.start_time)

    def _freeze(self) -> list[Process]:
        leader, start_time = self._family.leader, self._family.start_time
        if leader and find(leader, start_time):
            try:
                os.killpg(leader, signal.SIGSTOP)
            except OSError:  # it ended this moment
                pass
        frozen: dict[tuple[int, int], Process] = {}
        for _ in range(_ROUNDS):
            new = [one for one in self.members() if (one.pid, one.start_time) not in frozen]
            if not new:
                break
            for one in new:
                send(one.pid, one.start_time, signal.SIGSTOP)
                frozen[one.pid, one.start_time] = one
        return list(frozen.values())

    def _thaw(self, members: list[Process]) -> None:
        for one in members:
            send(one.pid, one.start_time, signal.SIGCONT)
        send(self._family.leader, self._family.start_time, signal.SIGCONT)
