"""The folder of one task of an array: a mirror of the staged tree, which all tasks share and none writes.

::

    work/project/          staged once, read-only
    work/tasks/<index>/    real directories; a symbolic link to each file of work/project

A large tree is mirrored down to `MIRROR_ENTRIES` entries; what lies deeper is reached through links to
whole directories. Everything is made and removed relative to open folders; no link is ever followed.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from functools import cached_property
from pathlib import Path

from .layout import PYTHON_CACHE, Links

__all__ = ["MIRROR_ENTRIES", "Mirror", "indices_in"]

MIRROR_ENTRIES = 2_000
"""Source: the contract, §2, Tasks of an array."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o755
_NOT_OURS = frozenset({errno.ENOTDIR, errno.ELOOP})
"""What opening a directory says of a file or a link in its place."""


class Mirror:
    """Lays out the folders of tasks, and takes away what they did not write. Blocking; any thread."""

    def __init__(self, project: Path | None, tasks: Path, start: str = "") -> None:
        """``project`` is the staged tree (None: nothing was staged), ``tasks`` the folder of all tasks'
        folders, ``start`` where in its folder a task starts: always a real directory."""
        self._project, self._tasks = project, tasks
        self._start = tuple(os.fsencode(part) for part in start.split("/") if part not in ("", "."))

    @cached_property
    def shape(self) -> Links:
        """What a task's folder holds at first: by name the target of a link, or what is in a directory.

        Raises OSError when the staged tree cannot be looked at.
        """
        shape = (
            {}
            if self._project is None
            else _shape(os.path.abspath(os.fsencode(self._project)), self._start)
        )
        place = shape
        for part in self._start:
            below = place.setdefault(part, {})
            if isinstance(below, bytes):
                break  # a link of the snapshot's own leads there
            place = below
        return shape

    def lay_out(self, index: int) -> Path:
        """Make the folder of a task; what is there already stays as it is. Raises OSError."""
        shape, tasks = self.shape, os.open(self._tasks, _FOLDER)
        try:
            _make(tasks, b"%d" % index, shape)
        finally:
            os.close(tasks)
        return self._tasks / str(index)

    def clear(self, index: int) -> bool:
        """Remove what is still as `lay_out` made it; whether nothing is left. Never raises OSError: what
        resists stays until the working folder goes."""
        try:
            shape, tasks = self.shape, os.open(self._tasks, _FOLDER)
        except OSError:
            return False
        try:
            return _clear(tasks, b"%d" % index, shape)
        finally:
            os.close(tasks)


def indices_in(folder: Path) -> list[int]:
    """The indices that name something in a folder, rising. Raises OSError."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    return sorted(
        int(name) for name in names if name.isascii() and name.isdecimal() and str(int(name)) == name
    )


def _shape(top: bytes, start: tuple[bytes, ...]) -> Links:
    """Breadth first, so that what lies near the top is mirrored; the way to ``start`` in any case."""
    holder: Links = {}
    room = MIRROR_ENTRIES
    waiting: deque[tuple[Links, bytes, bytes, tuple[bytes, ...] | None]] = deque(
        [(holder, b"", top, start)]
    )
    while waiting:
        above, name, path, way = waiting.popleft()
        entries = _entries(path, room if way is None else None)
        if entries is None:
            above[name] = path
            continue
        room -= len(entries)
        above[name] = below = {}
        for inner, is_folder in entries:
            place = path + b"/" + inner
            if is_folder and inner == PYTHON_CACHE:
                below[inner] = place  # shared, so that modules are compiled once
            elif is_folder:
                on = way[1:] if way and way[0] == inner else None
                waiting.append((below, inner, place, on))
            else:
                below[inner] = _target(place)
    shape = holder[b""]
    assert isinstance(shape, dict)
    return shape


def _entries(folder: bytes, most: int | None) -> list[tuple[bytes, bool]] | None:
    """(name, whether it is a directory) of each; None when there are more than ``most``."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if most is not None and len(found) >= most:
                return None
            found.append((entry.name, entry.is_dir(follow_symlinks=False)))
    return found


def _target(path: bytes) -> bytes:
    """A link of the snapshot stays the link that it is; to everything else a link is made."""
    try:
        return os.readlink(path)
    except OSError:
        return path


def _make(above: int, name: bytes, shape: Links, *, is_top: bool = True) -> None:
    try:
        os.mkdir(name, _MODE, dir_fd=above)
    except FileExistsError:
        pass
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        if is_top or error.errno not in _NOT_OURS:
            raise
        return  # a task that was started before put something else there
    try:
        for inner, what in shape.items():
            if isinstance(what, dict):
                _make(folder, inner, what, is_top=False)
                continue
            try:
                os.symlink(what, inner, dir_fd=folder)
            except FileExistsError:
                pass
    finally:
        os.close(folder)


def _clear(above: int, name: bytes, shape: Links) -> bool:
    try:
        folder = os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        return error.errno == errno.ENOENT
    try:
        for inner, what in shape.items():
            if isinstance(what, dict):
                _clear(folder, inner, what)
            else:
                _unlink(folder, inner, what)
        if _rmdir(above, name):
            return True
        return _drop_cache(folder) and _rmdir(above, name)
    finally:
        os.close(folder)


def _unlink(folder: int, name: bytes, target: bytes) -> None:
    """Unless the task put something else in its place."""
    try:
        if os.readlink(name, dir_fd=folder) == target:
            os.unlink(name, dir_fd=folder)
    except OSError:
        pass


def _rmdir(above: int, name: bytes) -> bool:
    try:
        os.rmdir(name, dir_fd=above)
    except OSError:
        return False
    return True


def _drop_cache(folder: int) -> bool:
    """The one kind of junk that nearly every Python task leaves."""
    try:
        cache = os.open(PYTHON_CACHE, _FOLDER, dir_fd=folder)
    except OSError:
        return False
    try:
        with os.scandir(cache) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            os.unlink(name, dir_fd=cache)
    except OSError:
        return False
    finally:
        os.close(cache)
    return _rmdir(folder, PYTHON_CACHE)
