"""One HTTP connection to a server: over a Unix socket, TCP, TLS, or the pipes of a program (ssh).

All of them are `http.client` connections; only how the socket comes to be differs.
"""

from __future__ import annotations

import http.client
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from ..model.errors import Unreachable
from .address import MARKER, Address

__all__ = ["Connection", "connect", "went_quiet"]

CONNECT_TIMEOUT_S = 10.0
LOGIN_TIMEOUT_S = 120.0
"""For the first answer through a program that may ask a person for a password."""
REAP_TIMEOUT_S = 2.0
NOISE_BYTES = 1 << 16
WORDS_BYTES = 2000

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
        return _ProgramConnection(address.command, address.label)
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


class _ProgramConnection(http.client.HTTPConnection):
    """A program (ssh) whose stdin and stdout are one socket, so that time-outs work as on any other."""

    def __init__(self, command: Sequence[str], label: str) -> None:
        super().__init__("localhost", timeout=LOGIN_TIMEOUT_S)
        self._command, self._label = list(command), label
        self._process: subprocess.Popen[bytes] | None = None
        self._words = ""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            end = theirs.fileno()
            # A session of its own: Ctrl-C at the terminal is for the command, not for its connection.
            self._process = subprocess.Popen(
                self._command, stdin=end, stdout=end, stderr=self._said, start_new_session=True
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.sock = ours
        self._skip_to_marker()

    def _skip_to_marker(self) -> None:
        """Past whatever a login prints, to where the other side is there. Raises OSError in words."""
        sock = self.sock
        sock.settimeout(LOGIN_TIMEOUT_S)
        seen = b""
        while not seen.endswith(MARKER):
            data = sock.recv(4096)
            seen = (seen + data)[-NOISE_BYTES:]
            if not data:
                raise OSError(self.last_words() or "the connection ended before the server was reached")

    def last_words(self) -> str:
        """What the program said on its stderr, for an error; empty while it still runs."""
        if self._process is not None:
            try:
                self._process.wait(REAP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return ""
        if not self._said.closed:
            size = self._said.seek(0, os.SEEK_END)
            self._said.seek(max(0, size - WORDS_BYTES))
            lines = self._said.read().decode(errors="replace").splitlines()
            self._words = "; ".join(line.strip() for line in lines if line.strip())
        return self._words

    def close(self) -> None:
        """End the program with its connection. `http.client` calls this too, before errors are told."""
        super().close()
        process = self._process
        if process is None:
            return
        self.last_words()
        self._process = None
        if process.poll() is None:
            process.kill()
        process.wait()
        self._said.close()


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, FileNotFoundError):
        return "no server is running there"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return error.strerror or str(error)
