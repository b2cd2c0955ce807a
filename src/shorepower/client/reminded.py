"""When this client last spoke of results that are about to go. Losing it is harmless."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

__all__ = ["Reminded"]

_DAY = timedelta(days=1)


class Reminded:
    """One server's, below ``<state>/client/``."""

    def __init__(self, client_dir: Path, label: str) -> None:
        self._file = client_dir / "reminded" / hashlib.sha256(label.encode()).hexdigest()[:16]

    def lately(self, now: datetime) -> bool:
        """Whether it was within the last day."""
        try:
            return timedelta(0) <= now - datetime.fromisoformat(self._file.read_text()) < _DAY
        except (OSError, ValueError, TypeError):
            return False

    def note(self, now: datetime) -> None:
        """It was now."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.write_text(now.isoformat())
        except OSError:
            pass  # said more often, then
