"""A connection over TLS, through the proxy that the environment names for its host, if any."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from .connections import TcpConnection, spelled
from .http1 import AnswerReader, head_of

__all__ = ["tls_connection"]

TLS_PORT, PROXY_PORT = 443, 3128


def tls_connection(host: str, port: int, environ: Mapping[str, str]) -> TcpConnection:
    """Not open yet. ``HTTPS_PROXY`` and ``NO_PROXY``, in either case, say which proxy is used."""
    named = {key.lower(): value for key, value in environ.items() if value}
    proxy = named.get("https_proxy", "")
    if proxy and not _bypassed(host, named.get("no_proxy", "")):
        return _TunnelConnection(host, port, proxy)
    return _TlsConnection(host, port)


def _bypassed(host: str, no_proxy: str) -> bool:
    import urllib.request

    # typeshed does not know it on every platform
    bypass = urllib.request.proxy_bypass_environment  # pyrefly: ignore[missing-attribute]
    return bool(bypass(host, {"no": no_proxy}))


class _TlsConnection(TcpConnection):
    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port, usual_port=TLS_PORT)
        self._name = host
        self._context = ssl.create_default_context()

    def _made(self) -> socket.socket:
        return self._wrapped(super()._made())

    def _wrapped(self, sock: socket.socket) -> socket.socket:
        try:
            return self._context.wrap_socket(sock, server_hostname=self._name)
        except BaseException:
            sock.close()
            raise


class _TunnelConnection(_TlsConnection):
    """Through a proxy, which sees nothing of what goes by."""

    def __init__(self, host: str, port: int, proxy: str) -> None:
        super().__init__(host, port)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        self._to = (parts.hostname or "", parts.port or PROXY_PORT)
        self._far = f"{spelled(host)}:{port}"
        self._headers = {"Host": self._far}
        if parts.username:
            import base64

            word = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Proxy-Authorization"] = "Basic " + base64.b64encode(word.encode()).decode()

    def _made(self) -> socket.socket:
        sock = TcpConnection._made(self)
        try:
            self._ask_through(sock)
        except BaseException:
            sock.close()
            raise
        return self._wrapped(sock)

    def _ask_through(self, sock: socket.socket) -> None:
        """Raises OSError in words when the proxy does not let us through."""
        sock.sendall(head_of("CONNECT", self._far, self._headers))
        answer = AnswerReader()
        while not answer.begun:
            data = sock.recv(4096)  # the other side is silent until TLS begins
            if not data:
                raise OSError(f"the proxy {self._to[0]} closed the connection")
            answer.feed(data)
        if not 200 <= answer.status < 300:
            raise OSError(f"the proxy {self._to[0]} answered {answer.status}")
