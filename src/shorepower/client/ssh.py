"""A server behind ssh: ``shore connect`` over there joins our pipe to the server's Unix socket.

One ssh connection is kept and shared by all commands of four hours, so that a password or a second
factor is asked for once: by a ControlMaster of ours, unless the user's own ssh configuration has one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace

from ..model.errors import StateDirectoryFault, Unreachable
from .address import Address
from .settings import Login, Places

__all__ = ["close_master", "prepare_master", "remote_words", "ssh_address", "user_has_master"]

KEEP_S = 4 * 3600
CONNECT_TIMEOUT_S = 15
LOGIN_TIMEOUT_S = 180.0
ASK_TIMEOUT_S = 10.0
_SCRIPT = (
    "if command -v shore >/dev/null 2>&1; then exec shore connect; "
    'elif [ -x "$HOME/.local/bin/shore" ]; then exec "$HOME/.local/bin/shore" connect; '
    'else echo "shore is not installed there (neither in PATH nor in ~/.local/bin)" >&2; exit 127; fi'
)


def ssh_address(address: Address, login: Login | None, places: Places) -> Address:
    """The same server, as a program to run for each connection."""
    own = login is None or login.keep_connection
    words = [*_options(address, places, own=own), "--", address.ssh, *remote_words(login)]
    return replace(address, command=tuple(words))


def remote_words(login: Login | None) -> list[str]:
    """What is run over there. One word: the login's shell there may be any."""
    if login is not None and login.remote_command:
        return [f"exec {login.remote_command} connect"]
    return [f"exec sh -c {shlex.quote(_SCRIPT)}"]


def prepare_master(
    address: Address, login: Login | None, places: Places, say: Callable[[str], None]
) -> None:
    """See to it that the kept connection is there; ssh may ask the person at the terminal for it.

    Raises Unreachable with what ssh said.
    """
    if login is not None and not login.keep_connection:
        return
    options = _options(address, places, own=True)
    check = [*options, "-O", "check", "--", address.ssh]
    if _run(check, ASK_TIMEOUT_S)[0] == 0:
        return
    with _alone(_master_socket(address, places)) as left_behind:
        if _run(check, ASK_TIMEOUT_S)[0] == 0:
            return
        _remove_if_dead(left_behind)
        say(f"connecting to {address.ssh}")
        master = ["-o", "ControlMaster=yes", "-o", f"ControlPersist={KEEP_S}", "-f", "-N"]
        code, words = _run([*options, *master, "--", address.ssh], LOGIN_TIMEOUT_S, ask=True)
    if code:
        raise Unreachable(f"{address.label} cannot be reached: {words or f'ssh ended with {code}'}")


def close_master(address: Address, places: Places) -> None:
    """Let the kept connection go; harmless when there is none."""
    _run([*_options(address, places, own=True), "-O", "exit", "--", address.ssh], ASK_TIMEOUT_S)


def user_has_master(address: Address) -> bool:
    """Whether the user's ssh configuration keeps a connection of its own to this host.

    Source: ssh(1), -G; ssh_config(5), ControlMaster.
    """
    port = ["-p", str(address.ssh_port)] if address.ssh_port else []
    code, words = _run(["ssh", "-G", *port, "--", address.ssh], ASK_TIMEOUT_S)
    if code:
        return False
    set_to = dict(line.split(" ", 1) for line in words.lower().splitlines() if " " in line)
    return (
        set_to.get("controlmaster", "false") not in ("false", "no") and set_to.get("controlpath") != "none"
    )


def _options(address: Address, places: Places, *, own: bool) -> list[str]:
    """ssh with what holds for every use of it; the destination follows ``--``."""
    words = ["ssh", "-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}"]
    words += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
    if own:
        words += ["-o", f"ControlPath={_master_socket(address, places)}"]
    words += ["-T"]
    if address.ssh_port:
        words += ["-p", str(address.ssh_port)]
    return words


def _master_socket(address: Address, places: Places) -> Path:
    name = hashlib.sha256(f"{address.ssh}:{address.ssh_port}".encode()).hexdigest()[:8]
    return _private(places.ssh_dir) / name


@contextlib.contextmanager
def _alone(master: Path) -> Iterator[Path]:
    """While this lasts, no other command of ours starts this connection: the person is asked once."""
    import fcntl  # not on Windows, whose ssh shares no connections either

    with master.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield master


def _remove_if_dead(master: Path) -> None:
    """Remove the socket of a connection that was killed.

    ssh refuses to share a connection whose socket's name is taken, and would go on alone, unseen.
    """
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(ASK_TIMEOUT_S)
        try:
            asking.connect(str(master))
        except ConnectionRefusedError:
            master.unlink(missing_ok=True)
        except OSError:
            return


def _private(folder: Path) -> Path:
    """The folder of kept connections, for nobody else. Raises StateDirectoryFault."""
    for one in (folder.parent, folder):
        try:
            one.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateDirectoryFault(f"{one} cannot be made: {error.strerror}") from None
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StateDirectoryFault(f"{folder} is not a folder that only you can enter; remove it")
    return folder


def _run(command: Sequence[str], timeout_s: float, *, ask: bool = False) -> tuple[int, str]:
    """(exit code, what it said). With ``ask`` it may talk to the terminal."""
    try:
        done = subprocess.run(
            command,
            stdin=None if ask else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if ask else subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except FileNotFoundError:
        raise Unreachable("ssh is not installed here") from None
    except subprocess.TimeoutExpired:
        return 255, f"no answer within {timeout_s:.0f} s"
    return done.returncode, done.stdout.decode(errors="replace").strip()
