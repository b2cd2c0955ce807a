"""What the HTTP front end is told: who it is, where it listens, what it bounds."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from msgspec import Struct

from ..model.errors import Fault, InvalidRequest

__all__ = ["Bounds", "Listen", "ServeSettings", "ServerFacts", "parse_listen"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ServerFacts(Struct, frozen=True, kw_only=True):
    """What this server says of itself."""

    version: str
    host: str
    pid: int
    user: str
    """The login name of the server's own uid, which owns what is asked over the Unix socket."""
    uid: int
    private: bool
    state_dir: str
    started_at: datetime


class Bounds(Struct, frozen=True, kw_only=True):
    """What no caller can exceed."""

    json_body_bytes: int = 8 << 20
    blobs_body_bytes: int = 64 << 20
    """Before and after decompression."""
    uploads_at_once: int = 3
    waiting_at_once: int = 400
    """Streams and long polls together."""
    requests_at_once: int = 600
    connections: int = 800
    head_bytes: int = 64 << 10
    """Request line and headers."""
    path_bytes: int = 8 << 10
    head_timeout_s: float = 30.0
    """For a request's head to arrive, from the first byte of it or of the connection."""
    body_timeout_s: float = 60.0
    """For the next part of a body to arrive."""
    send_timeout_s: float = 60.0
    """For a reader to take the next part of an answer; then it is dropped and may come again."""
    keepalive_s: float = 15.0
    """Between two signs of life in a stream."""
    wait_s: float = 60.0
    """Of one long poll."""
    idle_connection_s: float = 75.0
    """How long a connection is kept open between two requests."""
    stop_s: float = 2.0
    """For open requests to end when the server stops."""


class Listen(Struct, frozen=True, kw_only=True):
    """A TCP port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Only this machine reaches it."""
        return self.host in _LOOPBACK


class ServeSettings(Struct, frozen=True, kw_only=True):
    """``[server]`` of the configuration."""

    listen: Listen | None = None
    """Besides the Unix socket; None: nothing."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()
    """Names that a proxy in front passes on in ``Host``."""
    base_path: str = ""
    """What a proxy in front leaves before ``/v1``; begins with a slash, ends without."""
    idle_stop_s: float = 900.0
    """A private server ends itself after so long without anything to do; 0: never."""
    idle_poll_s: float = 15.0
    socket_check_s: float = 5.0
    """How often it is seen to that the Unix socket is still there."""
    bounds: Bounds = Bounds()

    def check(self) -> ServeSettings:
        """Itself. Raises InvalidRequest for a port that would speak plain http to other machines."""
        faults = []
        if bool(self.tls_cert) != bool(self.tls_key):
            faults.append(Fault("server.tls_cert", "give both tls_cert and tls_key, or neither"))
        if self.listen and not self.listen.is_loopback and not self.tls_cert:
            faults.append(
                Fault(
                    "server.listen",
                    f"plain http is for this machine only: listen on 127.0.0.1:{self.listen.port}, "
                    "or give tls_cert and tls_key",
                )
            )
        if self.base_path and (not self.base_path.startswith("/") or self.base_path.endswith("/")):
            faults.append(Fault("server.base_path", "a base path begins with a slash and ends without one"))
        if self.idle_stop_s < 0:
            faults.append(Fault("server.idle_minutes", "0 (never) or more"))
        if faults:
            raise InvalidRequest(faults)
        return self


def parse_listen(text: str) -> Listen:
    """``127.0.0.1:8080``, ``[::1]:8080`` or ``localhost:8080``. Raises ValueError in words."""
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not host or not port.isascii() or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"{text!r} is no address to listen on; write 127.0.0.1:8080 or [::1]:8080")
    return Listen(host=host, port=int(port))
