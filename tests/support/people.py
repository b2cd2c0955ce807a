"""Real users of this machine and a real helper, for tests that run as root."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import shorepower.host.helper
from shorepower.host.user import connect

__all__ = [
    "CONFINED",
    "HELPER",
    "PYTHON",
    "HelperRig",
    "_become_in_this_thread",
    "connect_as",
    "needs_root",
    "people",
]

HELPER = Path(shorepower.host.helper.__file__).parent


def _reached_by_all(program: str) -> bool:
    real = Path(program).resolve()
    return real.exists() and all(folder.stat().st_mode & 0o001 for folder in (real, *real.parents))


PYTHON = next(filter(_reached_by_all, (sys.executable, "/usr/bin/python3")), "")
"""One that every user can run, the programs that the helper starts included."""
CONFINED = ["setpriv", "--bounding-set=-all,+setuid,+setgid,+kill,+chown"]
"""As its unit gives it: `CapabilityBoundingSet` of deploy/shorepower-helper.service."""
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0 or not PYTHON or shutil.which("useradd") is None,
    reason="makes users and starts the helper: needs root, useradd and a Python that all can run, on Linux",
)


@contextmanager
def people(*names: str, system: tuple[str, ...] = ()) -> Iterator[dict[str, int]]:
    """Users made for as long as the block takes, each by the number she got; ``system`` ones below 1000."""
    own = {name: f"shore{os.getpid()}{name}" for name in (*names, *system)}
    made: list[str] = []
    with open("/run/lock/shorepower-tests", "w") as lock:  # useradd itself gives up where another one runs
        try:
            for name, account in own.items():
                kind = ["--system"] if name in system else []
                _alone(lock, "useradd", *kind, "--no-create-home", "--shell", "/bin/sh", account)
                made.append(account)
            yield {name: pwd.getpwnam(account).pw_uid for name, account in own.items()}
        finally:
            for account in made:
                _alone(lock, "userdel", account)


def _alone(lock, *argv: str) -> None:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 8), done.stderr  # 8: still in use by a process that is just ending
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _become_in_this_thread(uid: int) -> None:
    """The effective one, of the calling thread alone: the C library's own call would change all threads."""
    number = {"x86_64": 117, "aarch64": 147}[os.uname().machine]  # setresuid
    assert ctypes.CDLL(None, use_errno=True).syscall(number, -1, uid, -1) == 0


def connect_as(uid: int):
    """A way to connect as that user from a process that is root."""

    def connect_there(path: str) -> socket.socket:
        _become_in_this_thread(uid)
        try:
            return connect(path)
        finally:
            _become_in_this_thread(0)

    return connect_there


class HelperRig:
    """A helper of its own, restarted at will."""

    def __init__(self, server_uid: int, extra: str = "", patch: str = "") -> None:
        """``patch``: lines that change ``loop``, the helper's module, before it serves."""
        self.server_uid, self.patch = server_uid, patch
        self.folder = Path(tempfile.mkdtemp(prefix="shore-helper-"))
        self.folder.chmod(0o755)
        shutil.copytree(HELPER, self.folder / "helper")  # it runs wherever it lies
        self.socket = str(self.folder / "helper.sock")
        self.config = self.folder / "helper.toml"
        user = pwd.getpwuid(server_uid).pw_name
        self.config.write_text(f'server_user = "{user}"\nsocket = "{self.socket}"\n{extra}')
        self.connect = connect_as(server_uid)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Until it listens."""
        Path(self.socket).unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*CONFINED, PYTHON, "-I", "-S", *self._program(), str(self.config)],
            stderr=subprocess.PIPE,
        )
        assert b"listening" in self.process.stderr.readline()

    def _program(self) -> list[str]:
        if not self.patch:
            return [str(self.folder / "helper")]
        code = (
            f"import sys; sys.path.append({str(self.folder)!r}); import helper.loop as loop\n{self.patch}\n"
        )
        return ["-c", code + "loop.main(sys.argv[1:])"]

    def kill(self) -> None:
        """With SIGKILL."""
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    @property
    def open_descriptors(self) -> int:
        """How many the helper has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def close(self) -> None:
        """End it and remove its folder."""
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.folder)
