"""A file of ours among those of a job: put in place whole, through no link. Blocking."""

from __future__ import annotations

import os
from pathlib import Path

from .layout import parts_of

__all__ = ["put_into"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def put_into(area: Path, path: bytes, file: Path) -> None:
    """Move ``file``, which lies on the same file system, to ``path`` in the folder ``area``; folders that
    are missing are made, and a file that is there goes. Raises InvalidRequest, OSError."""
    *folders, name = parts_of(path)
    place = os.open(area, _FOLDER)
    try:
        for folder in folders:
            try:
                os.mkdir(folder, dir_fd=place)
            except FileExistsError:
                pass
            above, place = place, os.open(folder, _FOLDER, dir_fd=place)
            os.close(above)
        os.rename(file, name, dst_dir_fd=place)
    finally:
        os.close(place)
