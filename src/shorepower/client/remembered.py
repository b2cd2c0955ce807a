"""Answers of programs, kept in the cache to save the time of asking again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

__all__ = ["recall", "remember"]

_Answer = TypeVar("_Answer")


def recall(file: Path | None, kind: type[_Answer]) -> dict[str, _Answer]:
    """What was remembered, by question; nothing from a file that is missing or of another make."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, kind]) if file else {}
    except (OSError, msgspec.DecodeError):
        return {}


def remember(file: Path | None, known: Mapping[str, object]) -> None:
    """Replace what is remembered; a disk that is full or read-only only costs time."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(known))
        beside.replace(file)
    except OSError:
        pass  # it is only remembered to save time
