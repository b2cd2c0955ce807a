"""Who asks: the operating system's word on a Unix socket, a token on a port."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from ..dispatch.dispatcher import Dispatcher
from ..model.caller import Caller
from ..model.errors import NotAllowed, NotAuthenticated
from ..wire.http.headers import bearer
from .settings import ServerFacts, ServeSettings

__all__ = ["PEER", "Door", "Misdirected", "need_caller"]

PEER = "shorepower.peer"
"""In a request's ``extensions``: the uid at the other end of a Unix socket, put there by `Connection`."""
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


class Misdirected(Exception):
    """The request names another host: a page in a browser may have been made to send it."""


class Door:
    """Lets callers in, or says why not."""

    def __init__(self, dispatcher: Dispatcher, facts: ServerFacts, settings: ServeSettings) -> None:
        self._dispatcher, self._facts = dispatcher, facts
        self._any_host = settings.listen is not None and not settings.listen.is_loopback
        self._hosts = {host.lower() for host in (*_LOOPBACK_NAMES, *settings.hosts)}

    async def caller(self, scope: MutableMapping[str, Any]) -> Caller | None:
        """Who sent a request; None when it came over a port without a credential.

        Raises NotAllowed for another user of this machine and for a browser, NotAuthenticated for a
        token that is not good, Misdirected.
        """
        peer = scope.get("extensions", {}).get(PEER)
        if peer is not None:
            return self._by_uid(peer["uid"])
        headers = scope["headers"]
        self._check_browser(headers)
        secret = bearer(_header(headers, b"authorization"))
        if secret is None:
            return None
        return await self._dispatcher.authenticate(secret)

    def _by_uid(self, uid: int) -> Caller:
        if uid not in (self._facts.uid, 0):
            raise NotAllowed(f"this server belongs to {self._facts.user}; user number {uid} has no access")
        return Caller(user=self._facts.user, uid=uid)

    def _check_browser(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """No page in a browser speaks to us: neither across sites, nor by a name made to point here."""
        if _header(headers, b"origin") is not None:
            raise NotAllowed("requests from web pages are refused")
        host = (_header(headers, b"host") or "").lower()
        if self._any_host or _without_port(host) in self._hosts:
            return
        raise Misdirected("the Host header names another machine; set [server] hosts if a proxy sent it")


def need_caller(caller: Caller | None) -> Caller:
    """Raises NotAuthenticated when nobody is known."""
    if caller is None:
        raise NotAuthenticated(
            "this needs a token: Authorization: Bearer shp_... (make one: shore token create)"
        )
    return caller


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in headers if key == name), None)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
