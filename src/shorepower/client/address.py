"""Where a server is, as people write it and as a connection needs it. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from ..model.errors import InvalidRequest

__all__ = ["MARKER", "Address", "parse_address", "unix_address"]

MARKER = b"shorepower connect 1\n"
"""The first line of `shore connect`; what a login shell prints before it is skipped."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Address(Struct, frozen=True, kw_only=True):
    """One server: exactly one of ``socket``, ``host`` and ``command`` is given."""

    label: str
    """How it is called in a sentence: ``your server``, ``https://hpc.example.org``."""
    socket: str = ""
    """Absolute path of a Unix socket."""
    host: str = ""
    port: int = 0
    tls: bool = False
    base: str = ""
    """Path before ``/v1`` when it is behind a proxy; no slash at its end."""
    ssh: str = ""
    """``[user@]host`` that is reached through ssh."""
    ssh_port: int | None = None
    command: tuple[str, ...] = ()
    """A program whose stdin and stdout are the connection."""
    private: bool = False
    """It is this user's own server here, which may be started and replaced."""


def unix_address(socket: str, *, label: str = "your server", private: bool = False) -> Address:
    """A server behind a Unix socket."""
    return Address(label=label, socket=socket, private=private)


def parse_address(text: str) -> Address:
    """An address of ``https://host[:port]/base``, ``http://localhost:port``, ``ssh://[user@]host[:port]``
    or ``unix:///path``. Raises InvalidRequest in words."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no address of a server: {error}") from None
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return unix_address(parts.path, label=text)
    if parts.query or parts.fragment or parts.scheme not in ("http", "https", "ssh") or not parts.hostname:
        raise InvalidRequest(
            f"{text!r} is no address of a server; write ssh://[user@]host, https://host[:port][/base], "
            "http://localhost:port or unix:///path/of/socket"
        )
    if parts.password or (parts.username and parts.scheme != "ssh"):
        raise InvalidRequest("an address holds no password or token: shore login asks for it")
    if parts.scheme == "ssh":
        return _ssh(text, parts.hostname, parts.username, port)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise InvalidRequest(
            f"{text!r}: plain http is for this machine only; reach {parts.hostname} by https:// or ssh://"
        )
    tls = parts.scheme == "https"
    return Address(
        label=text,
        host=parts.hostname,
        port=port or (443 if tls else 80),
        tls=tls,
        base=parts.path.rstrip("/"),
    )


def _ssh(text: str, host: str, user: str | None, port: int | None) -> Address:
    # Source: ssh(1): a destination that begins with a dash would be read as an option.
    if host.startswith("-") or (user or "").startswith("-"):
        raise InvalidRequest(f"{text!r} is no address of a server: a name cannot begin with a dash")
    return Address(label=text, ssh=f"{user}@{host}" if user else host, ssh_port=port)
