"""One server for each state directory, whatever the host.

``server.lock`` is locked for life; ``lease.json`` tells who holds it and is renewed while it does. On a
local file system, and on the same host, the lock alone decides: it goes with its process. The lease of
another host on a network file system is dead only when the lock can be taken *and* the record was not
renewed for 60 s by the taker's own clock: clocks of two hosts are never compared.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

import anyio
import msgspec
from anyio import CapacityLimiter, to_thread
from msgspec import Struct
from msgspec.structs import replace

from ..model.decoding import json_decoder
from ..model.errors import ShorepowerError, StateDirectoryFault
from .contract import Clock
from .disk import boot_id
from .folders import explain, private_folder
from .mounts import filesystem_of, is_network

__all__ = [
    "AlreadyServed",
    "Lease",
    "LeaseLost",
    "LeaseRecord",
    "LeaseRules",
    "Surroundings",
    "read_lease",
    "surroundings",
]

STATE_REMEDY = "set SHORE_STATE_DIR to a folder of your own"
STATE_MARKS = ("server.lock", "lease.json", "store.db")
"""What shows that a folder is a state directory."""
BEFORE_START = ("server.log", "client")
"""What a client may have put into one before its server first ran."""
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class LeaseRules(Struct, frozen=True, kw_only=True):
    """How long things take; tests make them short."""

    renew_s: float = 20.0
    dead_after_s: float = 60.0
    """Without a renewal, by the taker's clock."""
    patience_s: float = 15.0
    """How long a taker on the same host waits for a holder that neither answers nor ends."""
    poll_s: float = 0.05
    watch_poll_s: float = 1.0


RULES = LeaseRules()


class Surroundings(Struct, frozen=True, kw_only=True):
    """Facts about this process and host; injected, so that tests can be two hosts."""

    host: str
    boot_id: str
    pid: int
    uid: int
    filesystem: Callable[[Path], str] = filesystem_of


class LeaseRecord(Struct, frozen=True, kw_only=True):
    """The content of ``lease.json``."""

    v: int = 1
    host: str
    pid: int
    boot_id: str
    started_at: datetime
    renewed_at: datetime
    socket: str
    """Where the server listens, on its host."""

    def same_server(self, other: LeaseRecord) -> bool:
        """Whether both were written by one process."""
        return (self.host, self.boot_id, self.pid, self.started_at) == (
            other.host,
            other.boot_id,
            other.pid,
            other.started_at,
        )


class AlreadyServed(StateDirectoryFault):
    """Another server holds the state directory; ``record`` tells which, if it said so."""

    def __init__(self, message: str, record: LeaseRecord | None, *, answers: bool = False) -> None:
        super().__init__(message)
        self.record, self.answers = record, answers


class LeaseLost(ShorepowerError):
    """The state directory is no longer ours: this server must end at once."""


def surroundings() -> Surroundings:
    """Those of this very process."""
    return Surroundings(host=socket.gethostname(), boot_id=boot_id(), pid=os.getpid(), uid=os.getuid())


def read_lease(state_dir: Path) -> LeaseRecord | None:
    """Who serves a state directory, as far as its record says; None when there is none to read."""
    data = _read(state_dir / "lease.json")
    try:
        return json_decoder(LeaseRecord).decode(data) if data else None
    except msgspec.DecodeError:
        return None


class Lease:
    """A state directory that is ours. Made by `take`, ended by `release`."""

    def __init__(self, state_dir: Path, record: LeaseRecord, lock: int | None, *, network: bool) -> None:
        self.state_dir, self.record, self._lock = state_dir, record, lock
        self.network = network
        """Other hosts may see the files: the database is opened exclusively."""
        self._disk = CapacityLimiter(1)
        self._released = False

    @classmethod
    async def take(
        cls,
        state_dir: Path,
        socket_of: Callable[[Path], Path],
        *,
        around: Surroundings,
        clock: Clock,
        rules: LeaseRules = RULES,
        answers: Callable[[str], bool],
        take_over: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ) -> Lease:
        """Become the server of a state directory, which is made where it is missing.

        ``socket_of`` maps its real path to the socket; ``answers`` tells whether somebody accepts
        connections at a path. ``take_over`` does without a lock where locks are not supported.
        Raises AlreadyServed, StateDirectoryFault: nothing was changed then.
        """
        real = await to_thread.run_sync(
            partial(
                private_folder,
                state_dir,
                around.uid,
                remedy=STATE_REMEDY,
                marks=STATE_MARKS,
                harmless=BEFORE_START,
                say=say,
            )
        )
        network = is_network(await to_thread.run_sync(around.filesystem, real))
        taker = _Taker(real, around, clock, rules, network=network)
        lock = await taker.lock(answers, say, take_over=take_over)
        try:
            if network or lock is None:
                await taker.outwait_other_host(say, unlocked=lock is None)
            now = clock.now()
            record = LeaseRecord(
                host=around.host,
                pid=around.pid,
                boot_id=around.boot_id,
                started_at=now,
                renewed_at=now,
                socket=str(socket_of(real)),
            )
            lease = cls(real, record, lock, network=network)
            try:
                await to_thread.run_sync(lease._write, record)
            except OSError as error:
                raise StateDirectoryFault(f"nothing can be written to {real}: {error.strerror}") from error
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        return lease

    async def renew(self, now: datetime) -> None:
        """Say that we live. Raises LeaseLost when it is no longer ours, OSError when it cannot be said."""
        record = replace(self.record, renewed_at=now)
        await to_thread.run_sync(self._renew, record, limiter=self._disk)
        self.record = record

    async def keep(self, clock: Clock, rules: LeaseRules, trouble: Callable[[OSError], None]) -> None:
        """Renew until cancelled; ``trouble`` hears of what cannot be written. Raises LeaseLost."""
        while True:
            await anyio.sleep(rules.renew_s)
            try:
                await self.renew(clock.now())
            except OSError as error:
                trouble(error)

    def release(self) -> None:
        """Let go; twice is harmless. The lock file stays: removing it would let two hold 'the' lock."""
        if self._released:
            return
        self._released = True
        known = read_lease(self.state_dir)
        if known is not None and known.same_server(self.record):
            (self.state_dir / "lease.json").unlink(missing_ok=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _renew(self, record: LeaseRecord) -> None:
        if self._lock is not None and not _is_still(self._lock, self.state_dir / "server.lock"):
            raise LeaseLost(f"{self.state_dir} was removed or replaced while this server ran")
        known = read_lease(self.state_dir)
        if known is not None and not known.same_server(record):
            raise LeaseLost(f"a server on {known.host} (process {known.pid}) took {self.state_dir} over")
        self._write(record)

    def _write(self, record: LeaseRecord) -> None:
        line = msgspec.json.encode(record) + b"\n"
        new, known = self.state_dir / "lease.json.new", self.state_dir / "lease.json"
        try:
            _put(new, line, os.O_CREAT | os.O_TRUNC)
        except OSError as error:
            new.unlink(missing_ok=True)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            try:
                _put(known, line, 0)  # the place that the last record has
            except FileNotFoundError:
                raise error from None
        else:
            new.rename(known)


def _put(path: Path, line: bytes, flags: int) -> None:
    """Write one line, in one go, and nothing after it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        os.write(descriptor, line)
        os.ftruncate(descriptor, len(line))
    finally:
        os.close(descriptor)


class _Taker:
    """The steps of taking a lease."""

    def __init__(
        self, state_dir: Path, around: Surroundings, clock: Clock, rules: LeaseRules, *, network: bool
    ) -> None:
        self._dir, self._around, self._clock, self._rules = state_dir, around, clock, rules
        self._network = network

    async def lock(
        self, answers: Callable[[str], bool], say: Callable[[str], None], *, take_over: bool
    ) -> int | None:
        """The locked descriptor; None when locks do not exist there and that was accepted."""
        deadline = self._clock.steady() + self._rules.patience_s
        waiting = False
        while True:
            try:
                lock = await to_thread.run_sync(_try_lock, self._dir / "server.lock")
            except _LocksUnsupported as fault:
                if take_over:
                    return None
                raise StateDirectoryFault(
                    f"the file system of {self._dir} has no locks ({fault}), so nothing tells whether "
                    "another host serves it: put the state elsewhere with SHORE_STATE_DIR, or, when "
                    "you know that no server of yours runs anywhere: shore serve --private --take-over"
                ) from None
            if lock is not None:
                return lock
            record = await to_thread.run_sync(read_lease, self._dir)
            if record is not None and self._is_elsewhere(record):
                raise _elsewhere(record)
            if record is not None and await to_thread.run_sync(answers, record.socket):
                raise AlreadyServed(
                    f"your server already runs (process {record.pid})", record, answers=True
                )
            if self._clock.steady() >= deadline:
                raise AlreadyServed(_silent(record, self._dir), record)
            if not waiting:
                say(f"waiting for {_holder(record)}, which starts or ends")
            waiting = True
            await anyio.sleep(self._rules.poll_s)

    async def outwait_other_host(self, say: Callable[[str], None], *, unlocked: bool) -> None:
        """Watch the record of another host until it counts as dead. Raises AlreadyServed if it lives."""
        record = await to_thread.run_sync(read_lease, self._dir)
        if record is None or not (unlocked or self._is_elsewhere(record)):
            return
        say(
            f"a server ran on {record.host}: watching for {self._rules.dead_after_s:.0f} s "
            "whether it still renews its lease"
        )
        until = self._clock.steady() + self._rules.dead_after_s
        while self._clock.steady() < until:
            await anyio.sleep(self._rules.watch_poll_s)
            now = await to_thread.run_sync(read_lease, self._dir)
            if now is None:
                return
            if now != record:
                raise _elsewhere(now)

    def _is_elsewhere(self, record: LeaseRecord) -> bool:
        return self._network and record.host != self._around.host


class _LocksUnsupported(Exception):
    pass


def _elsewhere(record: LeaseRecord) -> AlreadyServed:
    return AlreadyServed(
        f"your server runs on {record.host} (process {record.pid}, since "
        f"{record.started_at:%Y-%m-%d %H:%M} UTC); use it with: shore login ssh://{record.host} - "
        "or end it there with: shore server stop",
        record,
    )


def _holder(record: LeaseRecord | None) -> str:
    return f"process {record.pid}" if record else "another server"


def _silent(record: LeaseRecord | None, state_dir: Path) -> str:
    return (
        f"{_holder(record)} holds {state_dir} and does not answer; look at {state_dir / 'server.log'}, "
        "or end it and try again: jobs live on"
    )


def _try_lock(path: Path) -> int | None:
    """The locked descriptor; None when somebody else has it.

    Raises _LocksUnsupported, StateDirectoryFault.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateDirectoryFault(
            f"{path.parent} cannot be used: {explain(error)}; {STATE_REMEDY}"
        ) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _UNSUPPORTED:
            raise _LocksUnsupported(explain(error)) from None
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            return None
        raise StateDirectoryFault(f"{path} cannot be locked: {explain(error)}; {STATE_REMEDY}") from None
    if not _is_still(descriptor, path):
        os.close(descriptor)  # removed between opening and locking
        return None
    return descriptor


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to the file that was opened."""
    try:
        now, then = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64 << 10)
    except OSError:
        return b""
