"""What shorepower itself says: on stderr, each line marked, control characters made visible."""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["ENDING", "clean", "colour", "is_terminal", "paint", "say", "terminal_width"]

PREFIX = "shore: "
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a command; a job that was submitted goes on."""

_PAINTS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}
# Names of files and jobs are data: C0 and C1 controls, and the marks that turn writing round, are shown
# as their code. Source: Unicode 15, UAX #9.
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), 127, *range(128, 160))}
_VISIBLE |= {
    code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029)
}


def clean(text: str) -> str:
    """Text that can do nothing to a terminal."""
    return text.translate(_VISIBLE).encode(errors="backslashreplace").decode()


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
