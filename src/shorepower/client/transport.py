"""Carries requests to one server, over cuts, restarts and busy moments.

Only what is repeatable is ever sent twice: reads, controls, and submits, which carry a key. What
could not even be sent may always be tried again.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from ..model.errors import Busy, ShorepowerError, Unreachable
from .address import Address
from .connections import Connection, connect, went_quiet
from .errors import Cut, NotOurs
from .http1 import AnswerReader, Garbled, head_of
from .requests import Answer, Call, Request, problem_error

__all__ = ["Hooks", "Incoming", "Transport"]

T = TypeVar("T")

ANSWER_TIMEOUT_S = 60.0
"""For an answer to begin, besides what the server was asked to wait."""
SILENCE_TIMEOUT_S = 45.0
"""In a stream; the server gives a sign of life every 15 s."""
STRANGER_PATIENCE_S = 2.0
"""How long a server that never answered this client is tried."""
PATIENCE_S = 30.0
"""How long one that did answer is tried again: a restart or an upgrade takes less."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
IDLE_CONNECTIONS = 4
BODY_TRIES = 3
"""How often a whole answer is asked for whose body was cut."""
_BLOCK = 1 << 18
_TOGETHER_BYTES = 1 << 14
"""A body of at most this size goes out with its head."""
_HEADERS = {"Accept-Encoding": "identity"}


class Hooks:
    """What the owner of a transport does at the moments that need more than HTTP."""

    def before(self) -> None:
        """A connection is about to be made. Raises Unreachable."""

    def met(self, version: str) -> bool:
        """A server answered for the first time; True if it was replaced and must be asked again.

        Raises VersionMismatch.
        """
        return False

    def missing(self, error: Unreachable) -> bool:
        """Nobody listens; True if somebody does now. Raises NotStarted."""
        return False


class Incoming:
    """An answer whose body is read while it comes. Close it, or read it to its end."""

    def __init__(self, reader: AnswerReader, sock: socket.socket, done: Callable[[bool], None]) -> None:
        self.status, self.headers = reader.status, reader.headers
        self._reader, self._sock, self._done = reader, sock, done
        self._closed = False

    def pieces(self, size: int = _BLOCK) -> Iterator[bytes]:
        """Bytes as they come, until the end. Raises Unreachable when the connection is cut."""
        reader = self._reader
        while True:
            if piece := reader.take():
                yield piece
            if reader.ended:
                self._finish(reusable=reader.reusable)
                return
            if self._closed:
                raise Cut("the connection was closed")
            try:
                data = self._sock.recv(size)
                if data:
                    reader.feed(data)
            except (OSError, ValueError) as error:
                self.close()
                raise Cut(f"the connection was cut: {error or type(error).__name__}") from error
            if not data:
                self._end()
                return

    def _end(self) -> None:
        """Nothing more comes, which may be too early."""
        self.close()
        if missing := self._reader.missing():
            raise Cut(f"the connection was cut: {missing}")

    def read(self) -> bytes:
        """The whole body. Raises Unreachable when the connection is cut."""
        return b"".join(self.pieces())

    def abort(self) -> None:
        """Cut the connection, from any thread: a read that is under way ends at once."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is closed already

    def close(self) -> None:
        """Let go; an answer not read to its end costs the connection."""
        self._finish(reusable=False)

    def _finish(self, *, reusable: bool) -> None:
        if not self._closed:
            self._closed = True
            self._done(reusable)

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Transport:
    """Connections to one server. Safe to use from several threads."""

    def __init__(
        self,
        address: Address,
        *,
        version: str,
        token: str = "",
        environ: Mapping[str, str] = os.environ,
        hooks: Hooks | None = None,
    ) -> None:
        self.address = address
        self._hooks = hooks or Hooks()
        self._environ = environ
        self._headers = {"User-Agent": f"shorepower/{version}", "Shorepower-Version": version}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._idle: list[Connection] = []
        self._lock = threading.Lock()
        self._known = False

    def call(self, call: Call[T]) -> T:
        """Carry one call and decode its answer. Raises what the server said no with."""
        tries = BODY_TRIES if call.request.repeatable else 1
        while True:
            tries -= 1
            try:
                with self.open(call.request) as incoming:
                    answer = Answer(status=incoming.status, headers=incoming.headers, body=incoming.read())
            except Cut:
                if not tries:
                    raise
            else:
                return call.decode(answer)

    def open(self, request: Request) -> Incoming:
        """Send a request and return its answer as soon as it begins; repeated where that is safe.

        Raises Unreachable when patience ends, and the error that an answer of 400 or above means.
        """
        if not self._known and request.method != "GET":
            self._greet()
        began = time.monotonic()
        pause = FIRST_PAUSE_S
        while True:
            try:
                return self._judge(self._once(request))
            except Busy as error:
                failed: ShorepowerError = error
                pause = error.retry_after_s  # nothing was taken
            except _NotSent as error:
                failed = error
                if self._hooks.missing(error):
                    began = time.monotonic()
            except (Cut, NotOurs) as error:
                failed = error
                if not request.repeatable:
                    raise
            patience = PATIENCE_S if self._known else self._first_patience()
            if time.monotonic() - began + pause > patience:
                raise failed
            time.sleep(pause)
            pause = min(max(pause, FIRST_PAUSE_S) * 2, LONGEST_PAUSE_S)

    def close(self) -> None:
        """Close what is idle; twice is harmless."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _greet(self) -> None:
        """Learn the server's version before asking it to change anything."""
        request = Request(method="GET", path="/v1/server", repeatable=True)
        with self.open(request) as incoming:
            incoming.read()

    def _first_patience(self) -> float:
        # A program may ask a person for a password: not again and again.
        return 0.0 if self.address.command else STRANGER_PATIENCE_S

    def _once(self, request: Request) -> Incoming:
        connection = self._take()
        try:
            if connection is None:
                try:
                    self._hooks.before()
                    connection = connect(self.address, self._environ)
                except Unreachable as error:
                    raise _NotSent(str(error)) from error.__cause__
            return self._exchange(connection, request)
        except OSError as error:
            words = ""
            if connection is not None:
                words = connection.last_words()
                connection.close()
            raise Cut(f"{self.address.label} did not answer: {words or _describe(error)}") from error
        except BaseException:
            if connection is not None:
                connection.close()
            raise

    def _exchange(self, connection: Connection, request: Request) -> Incoming:
        sock = connection.sock
        assert sock is not None
        sock.settimeout(max(connection.timeout_s, ANSWER_TIMEOUT_S) + request.wait_s)
        headers = {"Host": connection.host, **_HEADERS, **self._headers, **request.headers}
        if request.body is not None:
            headers["Content-Length"] = str(len(request.body))
        head = head_of(request.method, self.address.base + request.path, headers)
        for block in _blocks(head, request.body or b""):
            sock.sendall(block)
        reader = AnswerReader()
        while not reader.begun:
            data = sock.recv(_BLOCK)
            if not data:
                raise ConnectionResetError(reader.missing())
            reader.feed(data)
        sock.settimeout(SILENCE_TIMEOUT_S + request.wait_s)
        return Incoming(reader, sock, lambda reusable: self._give_back(connection, reusable))

    def _judge(self, incoming: Incoming) -> Incoming:
        """The answer itself if it says yes. Raises what it means otherwise."""
        if not self._known:
            self._meet(incoming)
        if incoming.status < 400:
            return incoming
        answer = Answer(status=incoming.status, headers=incoming.headers, body=incoming.read())
        raise problem_error(answer, self.address.label)

    def _meet(self, incoming: Incoming) -> None:
        version = incoming.headers.get("shorepower-version")
        if version is None:
            if incoming.status < 400:
                incoming.close()
                raise NotOurs(f"{self.address.label} answers, but is no shorepower server")
            return
        try:
            replaced = self._hooks.met(version)
        except BaseException:
            incoming.close()
            raise
        self._known = True
        if replaced:
            incoming.close()
            self.close()
            raise Cut(f"{self.address.label} was replaced by a newer one")

    def _take(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not went_quiet(connection):
                return connection
            connection.close()

    def _give_back(self, connection: Connection, reusable: bool) -> None:
        if reusable:
            with self._lock:
                if len(self._idle) < IDLE_CONNECTIONS:
                    self._idle.append(connection)
                    return
        connection.close()


class _NotSent(Unreachable):
    """There was no connection, so nothing happened."""


def _blocks(head: bytes, body: bytes) -> Iterator[bytes | memoryview]:
    """Small enough that a time-out means a block did not move, whatever the size of all."""
    if len(body) <= _TOGETHER_BYTES:
        yield head + body
        return
    yield head
    view = memoryview(body)
    for start in range(0, len(body), _BLOCK):
        yield view[start : start + _BLOCK]


def _describe(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionError) and not isinstance(error, Garbled):
        return "the connection was closed"
    return str(error) or type(error).__name__
