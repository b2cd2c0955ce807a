"""All processes of one attempt, signalled together. Blocking; takes some milliseconds.

To reach every process exactly once the tree is frozen first: the wrapper's group at one stroke, others
one by one until no new one turns up. A process that has a stop signal pending cannot fork. Each
process is signalled through a pidfd after its start time was compared.
"""

from __future__ import annotations

import os
import signal

from ...host.families import Families, Family
from ...host.processes import Process, command_line, find, send

__all__ = ["Tree"]

_ROUNDS = 200
"""How often a tree that keeps growing is looked at anew before the rest is left to the next call."""


class Tree:
    """The processes of one attempt; the wrapper is told apart from the rest."""

    def __init__(self, name: str, family: Family, families: Families) -> None:
        self._name, self._family, self._families = name, family, families

    def members(self) -> list[Process]:
        """Everything living but the wrapper."""
        tree = self._families.sort({self._name: self._family})[self._name]
        return [one for one in tree if not self._is_wrapper(one)]

    def terminate(self) -> int:
        """SIGTERM to every member, also to stopped ones; how many of them can have taken notice.

        What the wrapper has just forked may still have the wrapper's own handlers, and become the
        program as if nothing had been sent: it does not count.
        """
        members = self._freeze()
        unborn = command_line(self._family.leader)
        reached = 0
        for one in members:
            reached += one.parent != self._family.leader or command_line(one.pid) != unborn
            send(one.pid, one.start_time, signal.SIGTERM)
        self._thaw(members)
        return reached

    def kill(self) -> int:
        """SIGKILL to every member; how many there were. The wrapper goes on and records the end."""
        members = self._freeze()
        for one in members:
            send(one.pid, one.start_time, signal.SIGKILL)
        send(self._family.leader, self._family.start_time, signal.SIGCONT)
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
        self._send_to_group(signal.SIGSTOP)
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
        """The wrapper last: as long as it is stopped the job counts as suspended."""
        for one in members:
            send(one.pid, one.start_time, signal.SIGCONT)
        self._send_to_group(signal.SIGCONT)

    def _send_to_group(self, number: int) -> None:
        """At one stroke, while the wrapper lives: then the group's number is the wrapper's."""
        leader, start_time = self._family.leader, self._family.start_time
        if leader and find(leader, start_time):
            try:
                os.killpg(leader, number)
            except OSError:  # it ended this moment
                pass
