"""From what the user says to a transport that reaches a server: which one, its token, how it starts."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from .. import __version__
from ..model.errors import InvalidRequest, Unreachable
from . import requests
from .address import Address, parse_address, unix_address
from .errors import NotStarted
from .settings import Login, Places, Settings
from .transport import Hooks, Transport
from .versions import Standing, compare, judge

__all__ = ["SYSTEM_SOCKET", "link", "which_server"]

SYSTEM_SOCKET = Path("/run/shorepower/shorepower.sock")
"""A server of the whole machine; it comes before a private one when it belongs to root."""
PRIVATE, HERE = "private", "here"
"""Names of no login: the user's own server, and the machine's or else the user's own."""


def which_server(settings: Settings, named: str | None = None) -> tuple[Address, Login | None]:
    """The server to use: named > ``SHORE_SERVER`` > the login marked default > the machine's > private.

    A name is a login's, ``private``, or an address. Raises InvalidRequest naming the logins.
    """
    wanted = named or settings.server
    if not wanted:
        marked = [name for name, login in settings.servers.items() if login.default]
        wanted = marked[0] if marked else ""
    if wanted in settings.servers:
        login = settings.servers[wanted]
        return parse_address(login.url), login
    if "://" in wanted:
        return parse_address(wanted), None
    if wanted not in ("", PRIVATE, HERE):
        from ..model.check import unknown

        raise InvalidRequest(unknown("server", wanted, [*settings.servers, PRIVATE]))
    if wanted != PRIVATE and _is_system_socket(SYSTEM_SOCKET):
        return unix_address(str(SYSTEM_SOCKET), label="this machine's server"), None
    if sys.platform == "win32":
        raise InvalidRequest("servers run on Linux: use one there, with shore login ssh://[user@]host")
    return unix_address(settings.places.socket, private=True), None


def link(
    settings: Settings,
    named: str | None,
    *,
    environ: Mapping[str, str],
    say: Callable[[str], None],
    start: bool = True,
) -> Transport:
    """A transport to the server to use. Nothing is connected yet; with ``start``, a private server is
    started when the first request finds none."""
    address, login = which_server(settings, named)
    if address.private and start and (there := _on_another_host(settings, environ, say)):
        address, login = there
    hooks: Hooks = _VersionHooks(address.label)
    if address.private:
        hooks = _PrivateHooks(settings, environ, say, start=start and settings.autostart)
    if address.ssh:
        from .ssh import ssh_address

        hooks = _SshHooks(address, login, settings.places, say)
        address = ssh_address(address, login, settings.places)
    return Transport(
        address, version=__version__, token=_token(address, login, environ), environ=environ, hooks=hooks
    )


def _on_another_host(
    settings: Settings, environ: Mapping[str, str], say: Callable[[str], None]
) -> tuple[Address, Login] | None:
    """The way to the user's own server when another host runs it; None: here, or nobody can be reached."""
    from .elsewhere import login_there, serving_host

    host = serving_host(settings.places)
    if not host:
        return None
    from .ssh import prepare_master

    login = login_there(host, environ)
    address = parse_address(login.url)
    say(f"your server runs on {host}")
    try:
        prepare_master(address, login, settings.places, say)
    except Unreachable as error:
        say(f"{error}; looking whether it can be started here")
        return None
    return address, login


class _VersionHooks(Hooks):
    def __init__(self, label: str) -> None:
        self._label = label

    def met(self, version: str) -> bool:
        judge(__version__, version, self._label)
        return False


class _SshHooks(_VersionHooks):
    """The kept ssh connection is made before the first request, while a person can still be asked."""

    def __init__(
        self, address: Address, login: Login | None, places: Places, say: Callable[[str], None]
    ) -> None:
        super().__init__(address.label)
        self._arguments = (address, login, places, say)
        self._asking = threading.Lock()

    def before(self) -> None:
        from .ssh import prepare_master

        with self._asking:
            prepare_master(*self._arguments)


class _PrivateHooks(Hooks):
    """The user's own server: started when missing, replaced when older."""

    def __init__(
        self, settings: Settings, environ: Mapping[str, str], say: Callable[[str], None], *, start: bool
    ) -> None:
        self._settings, self._environ, self._say, self._start = settings, environ, say, start
        self._tried = False
        self._starting = threading.Lock()

    def missing(self, error: Unreachable) -> bool:
        if not self._start:
            raise NotStarted(f"{error}; `shore server start` starts it") from error
        from .autostart import start

        with self._starting:  # several threads may find it missing; one starts it, the others find it there
            start(self._settings.places, self._environ, self._say)
        return True

    def met(self, version: str) -> bool:
        if compare(__version__, version) is not Standing.OLDER or not self._start or self._tried:
            judge(__version__, version, "your server")
            return False
        self._tried = True
        self._say(f"replacing your server {version} by {__version__}; jobs go on")
        self._replace()
        return True

    def _replace(self) -> None:
        from .autostart import start, wait_until_gone

        path = self._settings.places.socket
        old = Transport(unix_address(path), version=__version__)
        try:
            old.call(requests.stop_server())
        except Unreachable:
            pass  # it ended while it answered
        finally:
            old.close()
        if not wait_until_gone(path):
            raise NotStarted("the older server did not make room; stop it with: shore server stop")
        start(self._settings.places, self._environ, self._say)


def _is_system_socket(path: Path) -> bool:
    try:
        return path.is_socket() and path.parent.stat().st_uid == 0 and os.access(path, os.W_OK)
    except OSError:
        return False


def _token(address: Address, login: Login | None, environ: Mapping[str, str]) -> str:
    if not address.host:
        return ""  # the other side knows who asks without one
    if token := environ.get("SHORE_TOKEN"):
        return token.strip()
    if login is None or not login.token_file:
        return ""
    try:
        return Path(login.token_file).expanduser().read_text().strip()
    except OSError as error:
        raise InvalidRequest(f"the token in {login.token_file} cannot be read: {error.strerror}") from None
