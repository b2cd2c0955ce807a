"""The helper's one thread: takes requests in, forks for each, tells how it went; waits for none."""

from __future__ import annotations

import errno
import json
import os
import resource
import selectors
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from .child import in_child, run, send, words
from .config import CONFIG, Config, load, owned_by_root
from .request import MOST_BYTES, STARTS, No, decode

__all__ = ["Helper", "listen", "main"]

_CONNECTIONS, _BEGINNING, _CHILDREN = 64, 64, 16_384
_ASKING_TAKES_S, _BEGINNING_TAKES_S = 10.0, 20.0
_REPORT_BYTES = 4096
_UCRED = struct.Struct("3i")
"""pid, uid, gid. Source: unix(7), SO_PEERCRED."""


class _Asker:
    """A connection with one request, until it is answered or its time is over."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.until = time.monotonic() + _ASKING_TAKES_S


class _Child:
    """A process that was forked; a program once it has begun."""

    def __init__(
        self, pid: int, uid: int, asker: _Asker, report: int, ending: tuple[int, int] | None
    ) -> None:
        self.pid, self.uid, self.asker, self.report = pid, uid, asker, report
        self.ending = ending
        """The pipe that tells its end, if it is one that goes on."""
        self.pidfd = os.pidfd_open(pid)
        self.start_time = int(words(pid)[19])  # it is ours and not reaped: there is one
        self.until = time.monotonic() + _BEGINNING_TAKES_S


class Helper:
    """Serves one listening socket until killed; what it started goes on then."""

    def __init__(self, config: Config, listener: socket.socket) -> None:
        self._config, self._listener = config, listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._askers: set[_Asker] = set()
        self._beginning: set[_Child] = set()
        self._running: dict[tuple[int, int, int], _Child] = {}

    def serve(self) -> NoReturn:
        """For ever."""
        while True:
            timed = [one.until for one in (*self._askers, *self._beginning)]
            left = max(0.0, min(timed) - time.monotonic()) if timed else None
            for key, _ in self._selector.select(left):
                if (
                    self._selector.get_map().get(key.fd) is key
                ):  # else an earlier one of this round closed it
                    key.data()
            self._end_overdue()

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for asker in [one for one in self._askers if one.until <= now]:
            self._selector.unregister(asker.connection)
            self._done(asker)
        for child in [one for one in self._beginning if one.until <= now]:
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            self._answer(child.asker, No("os", "it did not begin in time", errno.ETIMEDOUT).told)
            self._begun(child)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # no descriptor is left: some will be free soon
            time.sleep(0.05)
            return
        told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        if _UCRED.unpack(told)[1] != self._config.server_uid or len(self._askers) >= _CONNECTIONS:
            connection.close()
            return
        connection.setblocking(False)
        asker = _Asker(connection)
        self._askers.add(asker)
        self._selector.register(connection, selectors.EVENT_READ, partial(self._receive, asker))

    def _receive(self, asker: _Asker) -> None:
        self._selector.unregister(asker.connection)
        self._askers.discard(asker)
        fds: list[int] = []
        try:
            data, flags = _received(asker.connection, fds)
            if not data:
                self._done(asker)
                return
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise No("request", f"over {MOST_BYTES} bytes, or more than three descriptors", errno.E2BIG)  # noqa: TRY301 - one place answers
            self._take(asker, decode(data), fds)
        except No as no:
            self._answer(asker, no.told)
        except OSError as fault:
            self._answer(asker, No("os", fault.strerror or "", fault.errno or errno.EIO).told)
        finally:
            for fd in fds:
                os.close(fd)

    def _take(self, asker: _Asker, request: dict[str, Any], fds: Sequence[int]) -> None:
        starts = request["do"] in STARTS
        if len(fds) != 3 * starts:
            raise No("request", f"{request['do']} takes {3 * starts} descriptors, not {len(fds)}")
        if len(self._beginning) >= _BEGINNING or len(self._running) >= _CHILDREN:
            raise No("busy", "too much is under way", errno.EAGAIN)
        known = request["do"] == "signal" and (request["pid"], request["start_time"], request["uid"])
        work: Callable[[int], None] = (
            partial(run, request, self._config, fds)
            if starts
            else lambda _: send(request, self._config, known=known in self._running)
        )
        child = self._fork(asker, request["uid"], work, os.pipe() if starts else None)
        self._beginning.add(child)
        self._selector.register(child.report, selectors.EVENT_READ, partial(self._begun_or_not, child))

    def _fork(
        self, asker: _Asker, uid: int, work: Callable[[int], None], ending: tuple[int, int] | None
    ) -> _Child:
        opened, pid = list(ending or ()), 0
        try:
            reader, writer = os.pipe()
            opened += reader, writer
            pid = os.fork()
            if pid == 0:
                in_child(partial(work, writer), writer)
            child = _Child(pid, uid, asker, reader, ending)
        except OSError:  # no descriptor or process is left
            for fd in opened:
                os.close(fd)
            if pid:
                os.kill(pid, signal.SIGKILL)  # not reaped, so the number is its own
                os.waitpid(pid, 0)
            raise
        os.close(writer)
        return child

    def _begun_or_not(self, child: _Child) -> None:
        """The report has closed: a program runs, or a signal is sent, or it says why not."""
        told = os.read(child.report, _REPORT_BYTES)
        if told:
            no = json.loads(told)
            self._answer(child.asker, no, None if no else {})
        elif child.ending is None:
            self._answer(child.asker, No("os", "it was ended before it was done", errno.EINTR).told)
        else:
            self._running[child.pid, child.start_time, child.uid] = child
            name = {"pid": child.pid, "start_time": child.start_time}
            self._answer(child.asker, {}, name, (child.pidfd, child.ending[0]))
        self._begun(child)

    def _begun(self, child: _Child) -> None:
        self._beginning.discard(child)
        self._selector.unregister(child.report)
        os.close(child.report)
        if child.ending:
            os.close(child.ending[0])
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._ended, child))

    def _ended(self, child: _Child) -> None:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if not pid:
            return
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        self._running.pop((child.pid, child.start_time, child.uid), None)
        if child.ending:
            own_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            end = {
                "exit_code": os.waitstatus_to_exitcode(status),
                "cpu_time_s": used.ru_utime + used.ru_stime,
            }
            # Its peak counts what it shared with us before it was a program. Source: fs/exec.c, exec_mmap.
            end["largest_kib"] = used.ru_maxrss if used.ru_maxrss > own_kib else 0
            try:
                os.write(child.ending[1], json.dumps(end).encode())
            except BrokenPipeError:  # nobody wants to know
                pass
            os.close(child.ending[1])

    def _answer(self, asker: _Asker, no: object, ok: object = None, fds: Sequence[int] = ()) -> None:
        told = json.dumps({"ok": ok} if ok is not None else {"no": no}).encode()
        try:
            socket.send_fds(asker.connection, [told], fds) if fds else asker.connection.send(told)
        except OSError:  # it has gone, or takes no answer; what was started is found by its records
            pass
        self._done(asker)

    def _done(self, asker: _Asker) -> None:
        self._askers.discard(asker)
        asker.connection.close()


def _received(connection: socket.socket, fds: list[int]) -> tuple[bytes, int]:
    """One packet and its flags; its descriptors go into ``fds``, at most four."""
    room = socket.CMSG_SPACE(4 * 4)
    data, others, flags, _ = connection.recvmsg(MOST_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, piece in others:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds += struct.unpack(f"{len(piece) // 4}i", piece[: len(piece) // 4 * 4])
    return data, flags


def listen(config: Config) -> socket.socket:
    """A socket that only the server's user can open, there once it listens. Raises SystemExit, OSError."""
    owned_by_root(os.path.dirname(config.socket))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fresh = config.socket + ".new"
    if os.path.lexists(fresh):
        os.unlink(fresh)
    before = os.umask(0o177)
    listener.bind(fresh)
    os.umask(before)
    os.chown(fresh, config.server_uid, 0)
    listener.listen(_CONNECTIONS)
    listener.setblocking(False)
    os.rename(fresh, config.socket)
    return listener


def main(argv: Sequence[str]) -> int:
    """Serve until killed. Raises SystemExit with the reason."""
    if os.geteuid() != 0 or len(argv) > 1:
        raise SystemExit("helper [helper.toml], started by root")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    while (fd := os.open("/dev/null", os.O_RDWR)) < 3:  # what is received must not get one of these numbers
        pass
    os.close(fd)
    os.chdir("/")
    try:
        config = load(argv[0] if argv else CONFIG)
        listener = listen(config)
    except OSError as fault:
        raise SystemExit(f"{fault.filename}: {fault.strerror}") from None
    print(f"helper: listening on {config.socket}", file=sys.stderr, flush=True)  # noqa: T201 - for the service manager's log
    Helper(config, listener).serve()
