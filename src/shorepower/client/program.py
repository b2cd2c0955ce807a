"""A connection through the pipes of a program: ssh, with `shore connect` at its other end."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence

from .address import MARKER
from .connections import Connection

__all__ = ["ProgramConnection"]

LOGIN_TIMEOUT_S = 120.0
"""Until the other side is there."""
REAP_TIMEOUT_S = 2.0
NOISE_BYTES = 1 << 16
WORDS_BYTES = 2000


class ProgramConnection(Connection):
    """A program (ssh) whose stdin and stdout are one socket, so that time-outs work as on any other."""

    timeout_s = LOGIN_TIMEOUT_S

    def __init__(self, command: Sequence[str]) -> None:
        super().__init__()
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._words = ""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection

    def _made(self) -> socket.socket:
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
        try:
            self._skip_to_marker(ours)
        except BaseException:
            ours.close()
            raise
        return ours

    def _skip_to_marker(self, sock: socket.socket) -> None:
        """Past whatever a login prints, to where the other side is there. Raises OSError in words."""
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
        """End the program with its connection."""
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
