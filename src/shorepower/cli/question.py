"""One key from the person at the terminal, wherever stdin comes from."""

from __future__ import annotations

import os
import sys
from enum import Enum

from .voice import PREFIX, clean

__all__ = ["Answer", "ask"]


class Answer(Enum):
    """What to do with a job that Ctrl-C was pressed for."""

    LEAVE = "leave"
    STOP = "stop"
    WATCH = "watch"


_KEYS = {b"\n": Answer.LEAVE, b"\r": Answer.LEAVE, b"s": Answer.STOP, b"S": Answer.STOP, b"w": Answer.WATCH}


def ask(question: str) -> Answer:
    """The answer of one key; leaving when there is no terminal. Ctrl-C raises KeyboardInterrupt."""
    if sys.platform == "win32":
        return Answer.LEAVE
    import termios
    import tty

    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return Answer.LEAVE
    try:
        kept = termios.tcgetattr(terminal)
        try:
            tty.setcbreak(terminal, termios.TCSADRAIN)  # a key that was pressed already counts
            os.write(terminal, f"\r\x1b[2K{PREFIX}{clean(question)} ".encode())
            while True:
                key = os.read(terminal, 1)
                if not key:
                    return Answer.LEAVE
                if key in _KEYS:
                    return _KEYS[key]
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, kept)
            os.write(terminal, b"\n")
    except (OSError, termios.error):
        return Answer.LEAVE  # it is no terminal after all, or in the background
    finally:
        os.close(terminal)
