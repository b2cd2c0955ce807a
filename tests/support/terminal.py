"""A program under a terminal of its own, as a person would use it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Terminal", "plain"]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def plain(text: str) -> str:
    """What is left on the screen's lines, without colours and cursor moves."""
    return _ESCAPES.sub("", text)


class Terminal:
    """Starts a program with a controlling terminal for all three streams."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, *, columns: int = 100
    ) -> None:
        self.seen = ""
        self._fd, other = os.openpty()
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        # Not by a fork of this process, whose other threads may hold locks: setsid becomes the program,
        # with this terminal as its own. Source: setsid(1), --ctty. Keys are heard even where the tests were
        # started ignoring them, in the background of a script. Source: env(1), --default-signal.
        start = ["env", "--default-signal=INT,QUIT,HUP", "setsid", "--ctty", *argv]
        try:
            process = subprocess.Popen(
                start, env=dict(env), cwd=cwd, stdin=other, stdout=other, stderr=other
            )
        finally:
            os.close(other)
        process.returncode = 0  # `end` waits for it
        self.pid = process.pid

    def expect(self, text: str, limit_s: float = 30.0) -> str:
        """Everything seen, once it holds this text."""
        deadline = time.monotonic() + limit_s
        while text not in plain(self.seen):
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"{text!r} was not seen in:\n{self.seen}")
        return plain(self.seen)

    def type(self, text: str) -> None:
        """Keys; Ctrl-C is ``\\x03``."""
        os.write(self._fd, text.encode())

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self, limit_s: float = 30.0) -> int:
        """Its exit code (128 + N for signal N), once it has ended and all is read."""
        deadline = time.monotonic() + limit_s
        while self._read(deadline - time.monotonic()):
            pass
        os.close(self._fd)
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"it did not end; seen:\n{self.seen}")
            time.sleep(0.01)

    def _read(self, limit_s: float) -> bool:
        """False at the end, or when nothing came in time."""
        if limit_s <= 0 or not select.select([self._fd], [], [], limit_s)[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the other side of a terminal closes with EIO
            return False
        self.seen += data.decode(errors="replace")
        return bool(data)
