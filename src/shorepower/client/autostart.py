"""The private server starts by itself, detached, when the first command needs it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from ..model.errors import StateDirectoryFault
from .errors import NotStarted
from .settings import Places

__all__ = ["START_TIMEOUT_S", "answers", "scrubbed", "start", "wait_until_gone"]

START_TIMEOUT_S = 90.0
"""From the start until the socket answers: a cold start on a slow network disk takes long, and another
host's lease is watched for a minute before it counts as dead."""
OTHER_STARTER_S = 3.0
"""How long to go on waiting when our own server gave up: another one may be on its way."""
STOP_TIMEOUT_S = 20.0
PROBE_TIMEOUT_S = 5.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.1
_TAIL_BYTES = 4000

# What a server of the user needs of the environment it was started from. Everything else, the facts of
# a job and secrets of the first caller's shell among it, stays out.
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|XDG_\w+|SHORE_\w+|SSL_CERT_\w+"
    r"|(?i:https?_proxy|all_proxy|no_proxy)|KUBECONFIG|SLURM_CONF|KRB5CCNAME|DBUS_SESSION_BUS_ADDRESS"
    r"|LD_LIBRARY_PATH"
)
_NOT_KEPT = ("SHORE_SERVER", "SHORE_TOKEN", "SHORE_DEBUG")

_started: list[subprocess.Popen[bytes]] = []
"""Kept so that a long-lived caller reaps them."""


class _KilledFault(NotStarted):
    """A signal ended it."""


def answers(path: str) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def start(places: Places, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Start the private server and return once its socket answers; once more if it is killed meanwhile.

    Two at the same instant are fine: the state directory's lock lets one server live, and both callers
    reach it. Raises NotStarted with the server's last words, StateDirectoryFault.
    """
    for last in (False, True):
        if answers(places.socket):
            return
        try:
            _start_once(places, environ, say)
        except _KilledFault:
            if last:
                raise
            say("it was killed before it answered")
        else:
            return


def _start_once(places: Places, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Raises _KilledFault (somebody ended it), NotStarted, StateDirectoryFault."""
    with _open_log(places) as log:
        begin = log.seek(0, os.SEEK_END)
        say("starting your server")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "shorepower", "serve", "--private"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=scrubbed(environ, places),
            start_new_session=True,
        )
    _started[:] = [known for known in _started if known.poll() is None] + [process]
    _wait(process, places.socket, places.state_dir / "server.log", begin)


def wait_until_gone(path: str) -> bool:
    """Wait until nobody accepts connections there; False if somebody still does after a while."""
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while answers(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LONGEST_PAUSE_S)
    return True


def scrubbed(environ: Mapping[str, str], places: Places) -> dict[str, str]:
    """The environment of a server started from this one."""
    kept = {
        name: value for name, value in environ.items() if _KEPT.fullmatch(name) and name not in _NOT_KEPT
    }
    kept["SHORE_STATE_DIR"] = str(places.state_dir)
    package = str(Path(__file__).resolve().parents[2])
    if package in environ.get("PYTHONPATH", "").split(os.pathsep):
        kept["PYTHONPATH"] = package
    return kept


def _open_log(places: Places) -> BinaryIO:
    """The server's log, made with its folder. Raises StateDirectoryFault in words."""
    folder = places.state_dir
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
        if owner != os.getuid():
            raise StateDirectoryFault(
                f"{folder} belongs to user number {owner}, not to you; "
                "set SHORE_STATE_DIR to a folder of yours"
            )
        descriptor = os.open(
            folder / "server.log",
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
    except OSError as error:
        raise StateDirectoryFault(
            f"the state directory {folder} cannot be used: {error.strerror}; "
            "set SHORE_STATE_DIR to a folder that you can write"
        ) from None
    return os.fdopen(descriptor, "ab", buffering=0)


def _wait(process: subprocess.Popen[bytes], path: str, log: Path, begin: int) -> None:
    """Until the socket answers. Raises NotStarted."""
    deadline = time.monotonic() + START_TIMEOUT_S
    pause = _FIRST_PAUSE_S
    ended = False
    while not answers(path):
        if not ended and process.poll() is not None:
            ended = True
            deadline = time.monotonic() + OTHER_STARTER_S
        if time.monotonic() > deadline:
            killed = process.returncode is not None and process.returncode < 0
            raise (_KilledFault if killed else NotStarted)(_complaint(process, log, begin))
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _complaint(process: subprocess.Popen[bytes], log: Path, begin: int) -> str:
    code = process.returncode
    how = f"did not answer within {START_TIMEOUT_S:.0f} s"
    if code is not None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    words = _last_words(log, begin)
    return f"your server {how}{': ' + words if words else ''} (its log: {log})"


def _last_words(log: Path, begin: int) -> str:
    """The last line that the server wrote since it was started."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip()]
    return told[-1] if told else ""
