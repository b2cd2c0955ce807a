"""Working folders go, whatever a job left in them. Links are removed, never followed."""

from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

from ..model.errors import StorageFault
from ..model.names import quoted
from .trim import trim

__all__ = ["remove", "size_on_disk", "trim"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEP = 60
"""So many folders are held open inside each other; what is deeper is moved up first."""


def remove(folder: Path) -> int:
    """Remove a folder (or file) and all below it, read-only folders of jobs too; bytes freed.

    Not there is harmless, and so is going on after a crash. Raises StorageFault, naming the first path
    that resists, after removing all the others.
    """
    try:
        above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageFault(f"{folder.parent} cannot be opened: {error.strerror}") from error
    try:
        removal = _Removal()
        removal.drop(above, os.fsencode(folder.name), os.fsencode(folder), 0)
    finally:
        os.close(above)
    if removal.resists is not None:
        path, error = removal.resists
        raise StorageFault(f"{quoted(path)} cannot be removed: {error.strerror}") from error
    return removal.freed


def size_on_disk(folder: Path) -> int:
    """Bytes that a folder takes; 0 when it is not there. What cannot be looked at is not counted."""
    size, waiting = 0, [os.fsencode(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        size += _taken(entry.stat(follow_symlinks=False))
                    except OSError:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
    return size


class _Removal:
    """One removal; what is too deep is moved up into the folder that goes, and goes from there."""

    def __init__(self) -> None:
        self._top = -1
        self._serial = itertools.count()
        self._moved: list[bytes] = []
        self.freed = 0
        self.resists: tuple[bytes, OSError] | None = None

    def drop(self, above: int, name: bytes, path: bytes, depth: int) -> None:
        """Remove one name and what is below it."""
        try:
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=above)
                self.freed += _taken(status) if status.st_nlink == 1 else 0
                return
            if depth >= _DEEP:
                self._move_up(above, name)
                return
            self._empty(above, name, path, depth)
            os.rmdir(name, dir_fd=above)
            self.freed += _taken(status)
        except FileNotFoundError:
            return
        except OSError as error:
            if self.resists is None:
                self.resists = (path, error)

    def _empty(self, above: int, name: bytes, path: bytes, depth: int) -> None:
        folder = _open(above, name)
        if depth == 0:
            self._top = folder
        try:
            with os.scandir(folder) as entries:
                names = [os.fsencode(entry.name) for entry in entries]
            for inner in names:
                self.drop(folder, inner, path + b"/" + inner, depth + 1)
            while depth == 0 and self._moved:
                moved = self._moved.pop()
                self.drop(folder, moved, path + b"/" + moved, 1)
        finally:
            os.close(folder)

    def _move_up(self, above: int, name: bytes) -> None:
        while True:
            free = b".removing-%d-%d" % (os.getpid(), next(self._serial))
            try:
                os.stat(free, dir_fd=self._top, follow_symlinks=False)
            except FileNotFoundError:
                break
        os.rename(name, free, src_dir_fd=above, dst_dir_fd=self._top)
        self._moved.append(free)


def _open(above: int, name: bytes) -> int:
    """Open a folder for emptying, whatever its mode; it is the caller's own."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except PermissionError:
        handle = os.open(name, _LOOK, dir_fd=above)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
        return os.open(name, _FOLDER, dir_fd=above)
    if os.fstat(folder).st_mode & stat.S_IRWXU != stat.S_IRWXU:
        try:
            os.fchmod(folder, 0o700)
        except PermissionError:
            pass  # another's folder; what can be removed is
    return folder


def _taken(status: os.stat_result) -> int:
    return getattr(status, "st_blocks", 0) * 512
