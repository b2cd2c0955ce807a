"""Open connections to one database, with the settings that make an acknowledgement durable."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import apsw
from msgspec import Struct

from ...model.errors import StateDirectoryFault
from .faults import in_words

__all__ = ["MEMORY", "OLDEST_LIBRARY", "Source", "refuse_old_library", "run_all", "sync_folder"]

MEMORY = ":memory:"

OLDEST_LIBRARY = (3, 51, 3)
"""Earlier ones may corrupt a database in WAL mode when two connections write and checkpoint at
once (the WAL-reset defect). Source: https://sqlite.org/releaselog/3_51_3.html."""

_CACHE_KIB = 32_768
_WAL_KEPT_BYTES = 64 << 20
_CHECKPOINT_PAGES = 4_000
_RESERVED_BYTES = 20 << 20
"""Of the log, taken from the disk at once; more than it has before it is copied into the database and
begins anew. So a full disk still lets ends of jobs be recorded, and what makes room."""
_GROWTH_BYTES = 1 << 20
"""The database grows by this much at once, so that the log can be copied into it on a full disk too."""

# mmap stays off: it turns a damaged page into a crash or into silently spread damage.
_COMMON = f"""
PRAGMA mmap_size = 0;
PRAGMA cache_size = -{_CACHE_KIB};
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
"""

_WRITER = f"""
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA foreign_keys = ON;
PRAGMA journal_size_limit = {_WAL_KEPT_BYTES};
PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES};
"""


def refuse_old_library(version: str) -> None:
    """Raises StateDirectoryFault for an SQLite library that may corrupt the database."""
    parts = tuple(int(part) for part in version.split("."))
    if parts < OLDEST_LIBRARY:
        oldest = ".".join(map(str, OLDEST_LIBRARY))
        raise StateDirectoryFault(
            f"the SQLite library here is {version}, which can corrupt a database in use; "
            f"install apsw {oldest} or newer, which brings its own"
        )


class Source(Struct, frozen=True, kw_only=True):
    """One database and how it is opened."""

    path: str
    exclusive: bool = False
    """No other process, and no second connection: for network file systems, whose shared memory
    and locks between hosts do not carry SQLite's WAL. Source: https://sqlite.org/wal.html, §8."""
    busy_timeout_s: float = 5.0
    """How long to wait for another program that has the database locked."""

    @property
    def in_memory(self) -> bool:
        """Whether it is private to one connection and gone with it."""
        return self.path == MEMORY

    @property
    def alone(self) -> bool:
        """Whether there can be no connection but the writer's."""
        return self.exclusive or self.in_memory

    def claim(self) -> None:
        """Make the file, readable by its owner only, if there is none.

        Raises StateDirectoryFault. An existing file is not opened: see the package's docstring.
        """
        if self.in_memory:
            return
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            sync_folder(Path(self.path).parent)
        except FileExistsError:
            pass
        except OSError as error:
            raise StateDirectoryFault(
                f"the job database {self.path} cannot be made: {error.strerror}"
            ) from error

    def identity(self) -> tuple[int, int] | None:
        """Which file the path leads to now: device and inode. None without one."""
        if self.in_memory:
            return None
        try:
            found = Path(self.path).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def writer(self) -> apsw.Connection:
        """The one connection that writes. Raises StateDirectoryFault when it cannot."""
        try:
            connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                self._settle(connection, _WRITER)
            except BaseException:
                connection.close(force=True)
                raise
        except apsw.Error as error:
            raise StateDirectoryFault(
                f"the job database {self.path} cannot be used: {in_words(error)}"
            ) from error
        if connection.readonly("main"):
            connection.close(force=True)
            raise StateDirectoryFault(f"the job database {self.path} can only be read; it must be writable")
        return connection

    def reader(self) -> apsw.Connection:
        """A connection that only reads. Raises apsw.Error."""
        connection = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READONLY)
        connection.set_busy_timeout(round(self.busy_timeout_s * 1000))
        run_all(connection, _COMMON)
        return connection

    def _settle(self, connection: apsw.Connection, pragmas: str) -> None:
        connection.set_busy_timeout(round(self.busy_timeout_s * 1000))
        if self.exclusive:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        run_all(connection, _COMMON)
        if not self.in_memory:
            connection.execute("PRAGMA journal_mode = WAL")
        run_all(connection, pragmas)
        connection.execute("SELECT count(*) FROM sqlite_schema")
        if not self.in_memory:
            growth = ctypes.c_int(_GROWTH_BYTES)
            connection.file_control("main", apsw.SQLITE_FCNTL_CHUNK_SIZE, ctypes.addressof(growth))
            _reserve(f"{self.path}-wal")


def _reserve(log: str) -> None:
    """Take room for the log; without it where there is none. What lies behind the last valid frame counts
    as nothing. Source: https://sqlite.org/fileformat2.html, §4.1 and 4.3."""
    try:
        fd = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, _RESERVED_BYTES)
        finally:
            os.close(fd)
    except OSError:
        return  # no such log, or a disk that is full already


def run_all(connection: apsw.Connection, script: str) -> None:
    """Run every statement of a script. APSW alone would stop at the first one that returns a row."""
    connection.execute(script).fetchall()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
