"""One HTTP connection to a server: over a Unix socket, TCP, TLS, or the pipes of a program (ssh).

All of them are `http.client` connections; only how the socket comes to be differs.
"""

from __future__ import annotations

import http.client
import select
import socket
import sys
from collections.abc import Mapping

from ..model.errors import Unreachable
from .address import Address

__all__ = ["Connection", "connect", "went_quiet"]

CONNECT_TIMEOUT_S = 10.0

Connection = http.client.HTTPConnection


def connect(address: Address, environ: Mapping[str, str]) -> Connection:
    """An open connection. Raises Unreachable with the reason; nothing has been sent then."""
    made = _make(address, environ)
    try:
        made.connect()
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
        return http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT_S)
    return _tls(address, environ)


def _tls(address: Address, environ: Mapping[str, str]) -> Connection:
    """TLS, through the proxy that the environment names for this host, if any."""
    import ssl
    import urllib.request

    context = ssl.create_default_context()
    proxies = {key.lower(): value for key, value in environ.items() if value}
    proxy = proxies.get("https_proxy")
    none = {"no": proxies.get("no_proxy", "")}
    # typeshed does not know it on every platform
    bypass = urllib.request.proxy_bypass_environment  # pyrefly: ignore[missing-attribute]
    if not proxy or bypass(address.host, none):
        return http.client.HTTPSConnection(
            address.host, address.port, timeout=CONNECT_TIMEOUT_S, context=context
        )
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    made = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 3128, timeout=CONNECT_TIMEOUT_S, context=context
    )
    headers = {}
    if parts.username:
        import base64

        word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(word.encode()).decode()
    made.set_tunnel(address.host, address.port, headers)
    return made


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=CONNECT_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        if sys.platform == "win32":
            raise OSError("Windows reaches servers through ssh:// or https://, not through a socket file")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, FileNotFoundError):
        return "no server is running there"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or str(error)
