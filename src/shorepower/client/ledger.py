"""What pulls of ours have written on this machine, and what was there before."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Ledger"]


class Ledger:
    """Below ``<state>/client/``: one append-only file for each folder that pulls wrote into."""

    def __init__(self, client_dir: Path) -> None:
        self.client_dir = client_dir

    def beside(self, root: Path) -> frozenset[str]:
        """Paths, relative to ``root``, that pulls put beside a user's file; never sent."""
        raise NotImplementedError
