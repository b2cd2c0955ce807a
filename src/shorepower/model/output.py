"""Where a reader stands in a job's output, and what they are handed."""

from __future__ import annotations

import base64
from enum import StrEnum

from msgspec import Struct

__all__ = ["Cursor", "OutputPiece", "Stream"]


_MOST = 1 << 63


class Stream(StrEnum):
    """The two streams of a task."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Cursor(Struct, frozen=True, kw_only=True):
    """The next byte to read of each stream of one attempt."""

    submission: str = ""
    task: int = 0
    attempt: int = 0
    """0: whatever attempt comes first."""
    restart: int = 0
    stdout: int = 0
    stderr: int = 0

    def encode(self) -> str:
        """Opaque to clients, at most 200 bytes."""
        text = f"1,{self.submission},{self.task},{self.attempt},{self.restart},{self.stdout},{self.stderr}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Raises ValueError for anything that `encode` did not write."""
        try:
            padded = text + "=" * (-len(text) % 4)
            parts = base64.urlsafe_b64decode(padded.encode("ascii")).decode().split(",")
            version, submission, task, attempt, restart, stdout, stderr = parts
            numbers = [int(part) for part in (task, attempt, restart, stdout, stderr)]
        except ValueError:
            raise ValueError("that is no output cursor of ours") from None
        if version != "1" or not 0 <= min(numbers) <= max(numbers) < _MOST:
            raise ValueError("that is no output cursor of ours")
        task_, attempt_, restart_, out, err = numbers
        return cls(
            submission=submission, task=task_, attempt=attempt_, restart=restart_, stdout=out, stderr=err
        )


class OutputPiece(Struct, frozen=True, kw_only=True):
    """Some bytes of one stream, or an announced gap in it, or the end of everything."""

    kind: str
    """``output``, ``gap`` or ``end``."""
    stream: Stream = Stream.STDOUT
    task: int = 0
    attempt: int = 1
    offset: int = 0
    """Of the first byte of ``data``, or of the gap."""
    data: bytes = b""
    missing_bytes: int = 0
    """Length of a gap."""
    cursor: str = ""
    """Where to go on after this piece."""
