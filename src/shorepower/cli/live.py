"""One line at the bottom of a terminal that changes in place; nothing at all where there is no terminal."""

from __future__ import annotations

import sys
import time

from .voice import PREFIX, clean, colour, is_terminal, paint, terminal_width

__all__ = ["LiveLine"]

PERIOD_S = 0.1


class LiveLine:
    """Show, hide, show again. Used by one thread."""

    def __init__(self) -> None:
        self.on = is_terminal(sys.stderr)
        self._shown = False
        self._last = 0.0

    def show(self, text: str, *, now: bool = False) -> None:
        """Draw the line, at most ten times a second (unless ``now``)."""
        moment = time.monotonic()
        if not self.on or (moment - self._last < PERIOD_S and not now):
            return
        self._last = moment
        room = max(terminal_width() - len(PREFIX) - 1, 10)
        line = clean(text)
        line = line if len(line) <= room else line[: room - 1] + "…"
        self._write(f"\r\x1b[2K{PREFIX}{paint(line, 'dim', on=colour(sys.stderr))}")
        self._shown = True

    def hide(self) -> bool:
        """Take the line away, before anything else is written; whether there was one."""
        shown, self._shown = self._shown, False
        if shown:
            self._write("\r\x1b[2K")
        return shown

    def __enter__(self) -> LiveLine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.hide()

    def _write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self.on = False
