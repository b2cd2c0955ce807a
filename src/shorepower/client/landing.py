"""Writing below one folder and nowhere else: never through a link, whole or not at all.

Where the system can (POSIX), every name is opened relative to the open folder above it; elsewhere each
folder on the way is looked at before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

__all__ = [
    "REFUSED_NAME",
    "InTheWay",
    "Landing",
    "Spot",
    "part_path",
    "portable_name",
    "short_path",
    "umask_now",
]

_HAS_DIR_FD = os.open in os.supports_dir_fd and hasattr(os, "O_DIRECTORY")
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_AS_IT_IS = {"follow_symlinks": False} if os.link in os.supports_follow_symlinks else {}
_MOST_OPEN = 64
_SHORT_BYTES = 120
REFUSED_NAME = (errno.EILSEQ, errno.EINVAL, errno.ENAMETOOLONG)
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}
"""Source: learn.microsoft.com, Naming Files, Paths, and Namespaces."""


class InTheWay(Exception):
    """A part of a path is no folder (a link, a file)."""

    def __init__(self, depth: int) -> None:
        self.depth = depth


class Spot(Struct, frozen=True):
    """One name in one folder, to be used at once: ``fd`` is not kept open for long."""

    path: str
    """Relative to the landing's root, ``/`` between parts."""
    name: str
    """For the calls of `os`: relative to ``fd``, or a whole path where that is None."""
    fd: int | None


class Landing:
    """One folder that is written into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._open: dict[str, int] = {}
        self.made: list[str] = []
        """Folders made since this was last emptied."""

    def close(self) -> None:
        """Close the folders that are open."""
        while self._open:
            os.close(self._open.popitem()[1])

    def spot(self, path: str, *, make: bool = False) -> Spot:
        """Where a path is. Raises InTheWay; FileNotFoundError when a folder on the way is missing and
        ``make`` is not set."""
        if len(self._open) >= _MOST_OPEN:
            self.close()
        return self._spot(path, make)

    def _spot(self, path: str, make: bool = False) -> Spot:
        folder, _, name = path.rpartition("/")
        if not _HAS_DIR_FD:
            return Spot(path, str(self._checked(folder, make) / name), None)
        return Spot(path, name, self._folder(folder, make))

    def _both(self, source: str, path: str) -> tuple[Spot, Spot]:
        return self.spot(source), self._spot(path)

    def look(self, path: str) -> os.stat_result | None:
        """What is there, without following a link; None for nothing. Raises InTheWay."""
        try:
            spot = self.spot(path)
            return os.stat(spot.name, dir_fd=spot.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _folder(self, folder: str, make: bool) -> int:
        if (fd := self._open.get(folder)) is not None:
            return fd
        if not folder:
            fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        else:
            above_path, _, name = folder.rpartition("/")
            above = self._folder(above_path, make)
            if make:
                self._make(folder, name, above)
            try:
                fd = os.open(name, _FOLDER, dir_fd=above)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
                    raise InTheWay(folder.count("/")) from None
                raise
        self._open[folder] = fd
        return fd

    def _checked(self, folder: str, make: bool) -> Path:
        place = self.root
        for depth, part in enumerate(folder.split("/") if folder else ()):
            place /= part
            if make:
                self._make("/".join(folder.split("/")[: depth + 1]), str(place), None)
            status = os.lstat(place)
            if not stat.S_ISDIR(status.st_mode) or getattr(status, "st_reparse_tag", 0):
                raise InTheWay(depth)
        return place

    def _make(self, folder: str, name: str, above: int | None) -> None:
        try:
            os.mkdir(name, dir_fd=above)
        except FileExistsError:
            return
        self.made.append(folder)

    # one name

    def new_file(self, path: str, *, resume: bool) -> int:
        """A descriptor for writing a file of our own, private until it is done; with ``resume`` what an
        earlier run wrote is kept. Raises InTheWay, OSError."""
        spot = self.spot(path, make=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        if not resume:
            with suppress(FileNotFoundError):
                os.unlink(spot.name, dir_fd=spot.fd)
            return os.open(spot.name, flags | os.O_EXCL, 0o600, dir_fd=spot.fd)
        fd = os.open(spot.name, flags, 0o600, dir_fd=spot.fd)
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and _is_mine(status):
            return fd
        os.close(fd)
        return self.new_file(path, resume=False)

    def finish(self, path: str, *, mode: int, mtime_ns: int) -> None:
        """Give a file its mode and time."""
        spot = self.spot(path)
        if sys.platform != "win32":
            os.chmod(spot.name, mode, dir_fd=spot.fd)
        os.utime(spot.name, ns=(mtime_ns, mtime_ns), dir_fd=spot.fd)

    def change_mode(self, path: str, mode: int, before: os.stat_result) -> None:
        """Give the file that was looked at other permissions. Raises FileExistsError when another one is
        there by now."""
        fd = self.reader(path)
        try:
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino, now.st_mode) != (before.st_dev, before.st_ino, before.st_mode):
                raise FileExistsError(errno.EEXIST, "somebody else changes it", path)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def put_new(self, source: str, path: str) -> None:
        """Give a file its name. Raises FileExistsError when something is there by now."""
        old, new = self._both(source, path)
        try:
            os.link(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd, **_AS_IT_IS)
        except FileExistsError:
            raise
        except OSError as error:
            if error.errno in REFUSED_NAME:
                raise
            if self.look(path) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path) from None
            self.put_over(source, path)  # a file system without hard links
        else:
            os.unlink(old.name, dir_fd=old.fd)

    def put_over(self, source: str, path: str) -> None:
        """Give a file its name, replacing what is there in one step."""
        old, new = self._both(source, path)
        os.replace(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd)

    def symlink(self, path: str, target: str, mtime_ns: int) -> None:
        """Make a link. Raises FileExistsError."""
        spot = self.spot(path, make=True)
        os.symlink(target, spot.name, dir_fd=spot.fd)
        if os.utime in os.supports_follow_symlinks:
            os.utime(spot.name, ns=(mtime_ns, mtime_ns), dir_fd=spot.fd, follow_symlinks=False)

    def read_link(self, path: str) -> str:
        """Where a link points."""
        spot = self.spot(path)
        return os.readlink(spot.name, dir_fd=spot.fd)

    def make_folder(self, path: str, mode: int, mtime_ns: int) -> None:
        """Make an empty folder. Raises FileExistsError."""
        spot = self.spot(path, make=True)
        os.mkdir(spot.name, 0o700, dir_fd=spot.fd)
        self.finish(path, mode=mode, mtime_ns=mtime_ns)

    def remove(self, path: str, *, folder: bool = False) -> None:
        """Remove one name, if it is there."""
        with suppress(FileNotFoundError):
            spot = self.spot(path)
            (os.rmdir if folder else os.unlink)(spot.name, dir_fd=spot.fd)

    def reader(self, path: str) -> int:
        """A descriptor of a regular file for reading. Raises OSError."""
        spot = self.spot(path)
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        return os.open(spot.name, flags | getattr(os, "O_BINARY", 0), dir_fd=spot.fd)

    def keep_copy(self, path: str, place: Path) -> None:
        """Keep a file of the landing, its mode and time too, at a place outside of it."""
        spot = self.spot(path)
        try:
            os.link(spot.name, place, src_dir_fd=spot.fd, **_AS_IT_IS)
        except OSError:  # another file system, or one without hard links
            with open(self.reader(path), "rb") as source, open(place, "xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
                status = os.fstat(source.fileno())
            os.chmod(place, stat.S_IMODE(status.st_mode))
            os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))

    def bring_back(self, place: Path, path: str) -> None:
        """Put a file that was kept outside over a path, in one step."""
        aside = part_path(path, path, "undo")
        with open(place, "rb") as source, open(self.new_file(aside, resume=False), "wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            status = os.fstat(source.fileno())
        self.finish(aside, mode=stat.S_IMODE(status.st_mode), mtime_ns=status.st_mtime_ns)
        self.put_over(aside, path)


def part_path(path: str, wished: str, job: str) -> str:
    """Where a file is until it is complete: in the folder of ``path``, under a name that is never sent."""
    key = hashlib.sha256(f"{job} {wished}".encode(errors="surrogateescape")).hexdigest()[:12]
    return f"{path.rpartition('/')[0]}/.shore-{key}.part".lstrip("/")


def short_path(path: str) -> str:
    """A path that any file system can hold."""
    return "/".join(_short(portable_name(part, "nt")) for part in path.split("/"))


def _short(name: str) -> str:
    if len(os.fsencode(name)) <= _SHORT_BYTES:
        return name
    stem, suffix = os.path.splitext(name)
    mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8] + suffix[:16]
    while len(os.fsencode(stem + mark)) > _SHORT_BYTES:
        stem = stem[:-1]
    return stem + mark


def portable_name(name: str, system: str) -> str:
    """A name that a system (``nt``, ``darwin``, ``posix``) can hold, as near as possible."""
    if system == "posix":
        return name
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode(errors="backslashreplace").replace("\\", "%")
    if system == "darwin":
        return name
    name = "".join("_" if letter in '<>:"/\\|?*' or ord(letter) < 32 else letter for letter in name)
    stem = name.split(".", 1)[0].rstrip(" ").upper()
    if stem in _RESERVED:
        name = f"_{name}"
    trimmed = name.rstrip(" .")
    return trimmed + "_" * (len(name) - len(trimmed)) if trimmed else "_" * len(name)


def umask_now() -> int:
    """This process's umask; read where that can be done without changing it for a moment."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (OSError, ValueError, StopIteration):
        mask = os.umask(0o077)
        os.umask(mask)
        return mask


def _is_mine(status: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or status.st_uid == os.getuid()
