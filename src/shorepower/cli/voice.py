"""What shorepower itself says: on stderr, each line marked, control characters made visible."""

from __future__ import annotations

import os
import signal
import sys

from ..model.names import shown

__all__ = ["ENDING", "clean", "colour", "is_terminal", "paint", "say", "terminal_width"]

PREFIX = "shore: "
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a command; a job that was submitted goes on."""

_PAINTS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def clean(text: str) -> str:
    """Text that can do nothing to a terminal: names of files and jobs are data. Controls, the marks that
    turn writing round (Unicode, UAX #9) and bytes that are no text are shown as `shown` shows them."""
    return shown(text)


def say(text: str) -> None:
    """One line of ours. Nobody there to read it is no reason to fail."""
    try:
        sys.stderr.write(f"{PREFIX}{clean(text)}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # the terminal is gone


def is_terminal(stream: object) -> bool:
    """Whether a person sees this stream."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False


def colour(stream: object) -> bool:
    """Whether it may be painted. Source: no-color.org."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Columns of the terminal that this command runs at; 80 where none can be asked."""
    for descriptor in (2, 1, 0):
        try:
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            continue
    return 80


def paint(text: str, name: str, *, on: bool) -> str:
    """The text in a colour, if painting is on."""
    return f"\x1b[{_PAINTS[name]}m{text}\x1b[0m" if on and name in _PAINTS else text
