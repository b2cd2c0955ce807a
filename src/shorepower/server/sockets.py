"""The sockets a server listens on. Blocking; a few system calls each."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from ..host.folders import explain, private_folder
from ..model.errors import StateDirectoryFault
from .settings import Listen

__all__ = ["OwnSocket", "answers", "bind_port", "point_to"]

_BACKLOG = 1024
_REMEDY = "remove it, or set XDG_RUNTIME_DIR to a folder of your own, or unset it"
_PROBE_TIMEOUT_S = 2.0


class OwnSocket:
    """The Unix socket of a private server: 0600 in a folder 0700 whose owner is checked.

    Whoever makes one holds the state directory's lock, so what lies at the path is stale.
    """

    def __init__(self, path: Path, uid: int) -> None:
        self.path, self._uid = path, uid
        self._known: tuple[int, int] | None = None
        self._removed = False

    def bind(self) -> socket.socket:
        """A listening socket at the path, in place of whatever was there. Raises StateDirectoryFault."""
        folder = self.path.parent
        new = folder / (self.path.stem + ".new")
        private_folder(folder, self._uid, remedy=_REMEDY, follow=False)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            new.unlink(missing_ok=True)
            sock.bind(os.fsencode(new))
            new.chmod(0o600)
            sock.listen(_BACKLOG)
            sock.setblocking(False)
            new.rename(self.path)
            self._known = _identity(self.path)
        except OSError as error:
            sock.close()
            raise StateDirectoryFault(
                f"cannot listen at {self.path}: {explain(error)}; {_REMEDY}"
            ) from None
        return sock

    def is_there(self) -> bool:
        """Whether the path still leads to our socket; nothing is missed once it was removed."""
        return self._removed or (self._known is not None and _identity(self.path) == self._known)

    def remove(self) -> None:
        """Take the path away if it is still ours; twice is harmless."""
        if not self._removed and self.is_there():
            self.path.unlink(missing_ok=True)
        self._removed = True


def answers(path: str) -> bool:
    """Whether somebody accepts connections at a path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def point_to(expected: Path, actual: Path, uid: int) -> None:
    """Let one path lead to the socket at another one: the same server, seen from a login without the
    same ``XDG_RUNTIME_DIR``. Raises StateDirectoryFault."""
    if expected == actual:
        return
    private_folder(expected.parent, uid, remedy=_REMEDY, follow=False)
    new = expected.with_suffix(f".{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(actual)
        new.rename(expected)
    except OSError as error:
        raise StateDirectoryFault(f"cannot make {expected}: {explain(error)}; {_REMEDY}") from None


def bind_port(listen: Listen) -> socket.socket:
    """A listening TCP socket. Raises StateDirectoryFault in words."""
    sock: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise StateDirectoryFault(
            f"cannot listen on {listen.host}:{listen.port} ([server] listen): {explain(error)}"
        ) from None
    return sock


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None
