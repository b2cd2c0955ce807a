"""One connection to a server: over a Unix socket, TCP, TLS, or the pipes of a program (ssh).

All of them are sockets in the end; only how the socket comes to be differs.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Mapping

from ..model.errors import Unreachable
from .address import Address

__all__ = ["CONNECT_TIMEOUT_S", "Connection", "connect", "went_quiet"]

CONNECT_TIMEOUT_S = 10.0


class Connection:
    """What carries requests one after the other; ``host`` is what their ``Host`` says."""

    timeout_s = CONNECT_TIMEOUT_S
    """Until the other side is there."""

    def __init__(self, host: str = "localhost") -> None:
        self.host = host
        self.sock: socket.socket | None = None

    def open(self) -> None:
        """Make the socket. Raises OSError; nothing is left behind then."""
        self.sock = self._made()

    def close(self) -> None:
        """Twice is harmless."""
        if self.sock is not None:
            self.sock.close()

    def last_words(self) -> str:
        """What the other side said beside the answers, for an error."""
        return ""

    def _made(self) -> socket.socket:
        raise NotImplementedError


def connect(address: Address, environ: Mapping[str, str]) -> Connection:
    """An open connection. Raises Unreachable with the reason; nothing has been sent then."""
    made = _make(address, environ)
    try:
        made.open()
    except OSError as error:
        made.close()
        raise Unreachable(f"{address.label} cannot be reached: {_reason(error)}") from error
    return made


def went_quiet(connection: Connection) -> bool:
    """Whether the other side has closed (or spoken out of turn) while nothing was asked."""
    sock = connection.sock
    if sock is None:
        return True
    try:
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _make(address: Address, environ: Mapping[str, str]) -> Connection:
    if address.socket:
        return _UnixConnection(address.socket)
    if address.command:
        from .program import ProgramConnection

        return ProgramConnection(address.command)
    if not address.tls:
        return TcpConnection(address.host, address.port, usual_port=80)
    from .tls import tls_connection

    return tls_connection(address.host, address.port, environ)


class _UnixConnection(Connection):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def _made(self) -> socket.socket:
        if sys.platform == "win32":
            raise OSError("Windows reaches servers through ssh:// or https://, not through a socket file")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout_s)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        return sock


class TcpConnection(Connection):
    """To a port of a host."""

    def __init__(self, host: str, port: int, *, usual_port: int) -> None:
        name = spelled(host)
        super().__init__(name if port == usual_port else f"{name}:{port}")
        self._to = (host, port)

    def _made(self) -> socket.socket:
        sock = socket.create_connection(self._to, self.timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


def spelled(host: str) -> str:
    """A host as HTTP writes it."""
    if ":" in host:
        return f"[{host}]"
    return host if host.isascii() else host.encode("idna").decode()


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, FileNotFoundError):
        return "no server is running there"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or str(error)
