"""Programs and files as another user, through the helper that keeps root: see `shorepower.host.helper`."""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

import msgspec
from anyio import CapacityLimiter, get_cancelled_exc_class, to_thread
from msgspec import Struct

from ..model.errors import Busy, InvalidRequest, NotAllowed, ShorepowerError, Unreachable
from .contract import Host, Look, Reaped, Spawn, Spawned, SpawnLater
from .helper.request import MOST_BYTES
from .pipes import Talk, talk

__all__ = ["UserHost", "connect"]

_REQUESTS_AT_ONCE, _COMMANDS_AT_ONCE = 16, 8
_ANSWER_TAKES_S = 25
"""The helper gives up after 20."""
_END_TAKES_S = 0.1
"""From a process's end until the helper has told of it: far less than a millisecond if it lives at all."""
_ANSWER_BYTES = 1 << 14
_LOOK_LIMIT_BYTES = 1 << 24


class _End(Struct, frozen=True):
    exit_code: int
    cpu_time_s: float
    largest_kib: int


class _Started(Struct, frozen=True):
    spawned: Spawned
    end: int
    """A pipe with an `_End`, or nothing when the helper has died."""


def connect(path: str) -> socket.socket:
    """A connection with the helper. Raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # By the kernel: with a timeout of Python's, connecting to a busy socket fails at once.
        for way in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            made.setsockopt(socket.SOL_SOCKET, way, struct.pack("ll", _ANSWER_TAKES_S, 0))
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


class UserHost(Host):
    """One user of this machine, for a server that runs as somebody else.

    Every method raises Unreachable when the helper does not answer (whether something was started is then
    unknown), NotAllowed when root has decided that this user is not served, Busy, InvalidRequest.
    The helper takes the end of what it has started at once: a pid may be another's from its end on.
    """

    def __init__(self, uid: int, helper: str, connect: Callable[[str], socket.socket] = connect) -> None:
        self.uid, self.user = uid, pwd.getpwuid(uid).pw_name
        self._helper, self._connect = helper, connect
        self._requests = CapacityLimiter(_REQUESTS_AT_ONCE)
        self._commands = CapacityLimiter(_COMMANDS_AT_ONCE)
        self._ends: dict[tuple[int, int], int] = {}
        """As many as run: the helper bounds them."""

    async def spawn(self, what: Spawn | SpawnLater) -> Spawned:
        """The program is the shell that the helper's configuration names."""
        return await to_thread.run_sync(self._spawn, what, limiter=self._requests)

    def spawn_here(self, what: SpawnLater) -> Spawned:
        return self._spawn(what)

    def reap(self, spawned: Spawned) -> Reaped | None:
        """None also when the helper has died since: the end is in the records of the job alone then."""
        key = spawned.pid, spawned.start_time
        if key not in self._ends or not _readable(spawned.pidfd, 0.0):
            return None
        end = self._ends.pop(key)
        try:
            told = _told(end, _END_TAKES_S)
        finally:
            os.close(end)
        if told is None:
            return None
        return Reaped(
            exit_code=told.exit_code,
            cpu_time_s=told.cpu_time_s,
            largest_process_mib=told.largest_kib / 1024 or None,
        )

    async def look(self, paths: Sequence[str], timeout_s: float) -> Mapping[str, Look]:
        asked = json.dumps(list(dict.fromkeys(paths))).encode()
        seen = bytearray()
        try:
            await self._command({"do": "files"}, "looking", asked, timeout_s, _LOOK_LIMIT_BYTES, seen)
        except TimeoutError:  # what answered in time is there
            pass
        lines = bytes(seen[: seen.rfind(b"\n") + 1]).splitlines()
        # A name that is no UTF-8 travels as lone surrogates, which only json reads back.
        looks = [msgspec.convert(json.loads(line), Look) for line in lines]
        return {one.path: one for one in looks}

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float, limit_bytes: int = 1 << 24
    ) -> tuple[int, bytes, bytes]:
        """``argv[0]`` names a command of the helper's configuration. Raises TimeoutError, TooLarge."""
        out = bytearray()
        request = {"do": "command", "argv": list(argv)}
        code, err = await self._command(request, argv[0], stdin, timeout_s, limit_bytes, out)
        return code, bytes(out), err

    async def signal(
        self, pid: int, start_time: int, number: signal.Signals, marks: Mapping[str, str] | None = None
    ) -> None:
        """Signal the group that this process leads, as this user.

        ``marks``, variables of a job (`families.MARKS`), prove that it is one where the helper was started
        anew since.
        Raises ProcessLookupError when it has ended or is no job of hers.
        """
        request: dict[str, Any] = {"do": "signal", "pid": pid, "start_time": start_time}
        request |= {"signal": number.name, "marks": dict(marks or {})}
        await to_thread.run_sync(self._ask, request, limiter=self._requests)

    def close(self) -> None:
        """What was started goes on; how it ends is not told here."""
        while self._ends:
            os.close(self._ends.popitem()[1])

    def _spawn(self, what: Spawn | SpawnLater) -> Spawned:
        with ExitStack() as files:
            made = what.make(files) if isinstance(what, SpawnLater) else what
            request = {"do": "spawn", "argv": list(made.argv), "env": dict(made.env), "cwd": made.cwd}
            request |= {"umask": made.umask, "nice": made.nice}
            started = self._start(request, (made.stdin, made.stdout, made.stderr))
        self._ends[started.spawned.pid, started.spawned.start_time] = started.end
        return started.spawned

    def _start(self, request: Mapping[str, Any], fds: Sequence[int]) -> _Started:
        ok, (pidfd, end) = self._ask(request, fds)
        return _Started(Spawned(pid=ok["pid"], start_time=ok["start_time"], pidfd=pidfd), end)

    def _ask(self, request: Mapping[str, Any], fds: Sequence[int] = ()) -> tuple[dict[str, Any], list[int]]:
        """Blocking. Raises as the class says, and OSError when the system said no."""
        told = json.dumps({"v": 1, "uid": self.uid, **request}).encode()
        if len(told) > MOST_BYTES:
            raise InvalidRequest(
                f"command line and environment take {len(told)} bytes; at most {MOST_BYTES} are handed on"
            )
        try:
            with self._connect(self._helper) as connection:
                socket.send_fds(connection, [told], fds) if fds else connection.send(told)
                answer, given, _, _ = socket.recv_fds(connection, _ANSWER_BYTES, 2, socket.MSG_CMSG_CLOEXEC)
        except OSError as fault:
            raise Unreachable(
                f"the helper at {self._helper} does not answer ({_why(fault)}); "
                "is shorepower-helper running?"
            ) from fault
        if not answer:
            raise Unreachable(
                f"the helper at {self._helper} closed the connection; who asks may not, or it ended"
            )
        said = json.loads(answer)
        if "ok" not in said:
            raise _refusal(said["no"])
        return said["ok"], given

    async def _command(
        self,
        request: Mapping[str, Any],
        name: str,
        stdin: bytes,
        timeout_s: float,
        limit_bytes: int,
        out: bytearray,
    ) -> tuple[int, bytes]:
        """What it prints goes into ``out`` as it comes; exit code and stderr."""
        what = Talk(
            program=name,
            stdin=stdin,
            deadline=time.monotonic() + timeout_s,
            limit_bytes=limit_bytes,
            give_up=threading.Event(),
        )
        try:
            return await to_thread.run_sync(
                self._converse, request, what, out, limiter=self._commands, abandon_on_cancel=True
            )
        except get_cancelled_exc_class():
            what.give_up.set()
            raise

    def _converse(self, request: Mapping[str, Any], what: Talk, out: bytearray) -> tuple[int, bytes]:
        with ExitStack() as pipes:
            ours: list[IO[bytes]] = []
            with ExitStack() as theirs:
                fds = []
                for number in range(3):
                    reader, writer = os.pipe()
                    mine, other = (writer, reader) if number == 0 else (reader, writer)
                    ours.append(pipes.enter_context(os.fdopen(mine, "wb" if number == 0 else "rb", 0)))
                    theirs.callback(os.close, other)
                    fds.append(other)
                started = self._start(request, fds)
            pipes.callback(os.close, started.spawned.pidfd)
            pipes.callback(os.close, started.end)
            return self._converse_with(started, what, ours, out)

    def _converse_with(
        self, started: _Started, what: Talk, pipes: Sequence[IO[bytes]], out: bytearray
    ) -> tuple[int, bytes]:
        err, ended = bytearray(), False
        try:
            talk(what, pipes[0], {pipes[1]: out, pipes[2]: err})
            ended = _readable(started.spawned.pidfd, what.deadline - time.monotonic())
            if not ended:
                raise what.too_slow()
        finally:
            if not ended:
                self._kill(started.spawned)
        told = _told(started.end, _END_TAKES_S)
        if told is None:
            raise Unreachable(f"the helper ended while {what.program} ran")
        return told.exit_code, bytes(err)

    def _kill(self, spawned: Spawned) -> None:
        request = {"do": "signal", "pid": spawned.pid, "start_time": spawned.start_time}
        try:
            self._ask({**request, "signal": "SIGKILL", "marks": {}})
        except (OSError, ShorepowerError):  # it has ended, or its pipes close with us
            pass


def _why(fault: OSError) -> str:
    waited = isinstance(fault, BlockingIOError)
    return f"not in {_ANSWER_TAKES_S} s" if waited else fault.strerror or str(fault)


def _readable(fd: int, timeout_s: float) -> bool:
    waiting = select.poll()
    waiting.register(fd, select.POLLIN)
    return bool(waiting.poll(max(0.0, timeout_s) * 1000))


def _told(end: int, timeout_s: float) -> _End | None:
    if not _readable(end, timeout_s):
        return None
    data = os.read(end, 4096)
    return msgspec.json.decode(data, type=_End) if data else None


def _refusal(no: Mapping[str, Any]) -> Exception:
    """The helper's no, in the words of this house."""
    kind, why = no["kind"], str(no["why"])
    if kind == "os":
        return OSError(no["errno"], why)
    if kind == "gone":
        return ProcessLookupError(why)
    if kind == "user":
        return NotAllowed(why)
    return Busy(why, retry_after_s=1.0) if kind == "busy" else InvalidRequest(why)
