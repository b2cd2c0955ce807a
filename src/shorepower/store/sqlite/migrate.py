"""Bring a database to the schema of this version: numbered scripts, each once, each in one transaction."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import apsw
from msgspec import Struct

from ... import __version__
from ...model.errors import StateDirectoryFault
from .connect import run_all, sync_folder
from .faults import in_words

__all__ = ["Migration", "bundled", "copy_into", "migrate"]

_APPLICATION_ID = 0x53484F52  # "SHOR"
_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

_BOOK = """
CREATE TABLE IF NOT EXISTS schema_versions (
  number     INTEGER PRIMARY KEY,  -- owner: store/sqlite/migrate, as is the whole row
  name       TEXT NOT NULL,
  checksum   TEXT NOT NULL,
  applied_at INTEGER NOT NULL,
  applied_by TEXT NOT NULL         -- version of shorepower
) STRICT
"""


class Migration(Struct, frozen=True):
    """One numbered script."""

    number: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        """Of the text with plain line ends."""
        return hashlib.sha256("\n".join(self.script.splitlines()).encode()).hexdigest()


def bundled(folder: Path | None = None) -> list[Migration]:
    """The scripts of a folder, by number. Raises ValueError when the numbers are not 1, 2, 3 ..."""
    found = []
    for path in sorted((folder or Path(__file__).parent / "migrations").glob("*.sql")):
        if not (named := _NAME.fullmatch(path.name)):
            raise ValueError(f"{path.name} is no migration; the form is 0001_words.sql")
        found.append(Migration(int(named[1]), named[2], path.read_text(encoding="utf-8")))
    if [one.number for one in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations are not numbered 1 to {len(found)}")
    return found


def migrate(connection: apsw.Connection, path: str, known: Sequence[Migration]) -> None:
    """Apply what is missing; a copy of an existing database is kept beside it first.

    Raises StateDirectoryFault for a database that is not ours, is newer than ``known``, or was made by
    a script that has been edited since; nothing is changed then.
    """
    try:
        missing = _missing(connection, path, known)
        if missing and missing[0].number > 1:
            copy_into(connection, f"{path}.before-{missing[-1].number:04d}")
        connection.execute("PRAGMA foreign_keys = OFF")  # a script may rebuild a table that others hang on
        for migration in missing:
            _apply(connection, migration)
        connection.execute("PRAGMA foreign_keys = ON")
    except (apsw.Error, OSError) as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise StateDirectoryFault(
            f"the job database {path} cannot be brought to this version: {in_words(error)}"
        ) from error


def _missing(connection: apsw.Connection, path: str, known: Sequence[Migration]) -> Sequence[Migration]:
    if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        return known
    if connection.pragma("application_id") != _APPLICATION_ID:
        raise StateDirectoryFault(
            f"{path} is a database of another program; move it away or choose another state directory"
        )
    applied = connection.execute(
        "SELECT number, name, checksum, applied_by FROM schema_versions ORDER BY number"
    ).fetchall()
    for number, name, checksum, applied_by in applied:
        if number > len(known):
            raise StateDirectoryFault(
                f"the job database {path} was last used by shorepower {applied_by} (schema {number}) and "
                f"this is {__version__} (schema {len(known)}): upgrade, or restore an older backup"
            )
        if known[number - 1].checksum != checksum:
            raise StateDirectoryFault(
                f"the job database {path} was made by another text of migration {number} ({name}); "
                "this is not the shorepower that made it"
            )
    return known[len(applied) :]


def _apply(connection: apsw.Connection, migration: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_BOOK)
    last = connection.execute("SELECT coalesce(max(number), 0) FROM schema_versions").get
    if last < migration.number:
        run_all(connection, migration.script)
        if connection.execute("PRAGMA foreign_key_check").fetchall():
            connection.execute("ROLLBACK")
            raise StateDirectoryFault(
                f"migration {migration.number} ({migration.name}) would leave rows that hang on nothing"
            )
        connection.execute(
            "INSERT INTO schema_versions VALUES (?, ?, ?, ?, ?)",
            (migration.number, migration.name, migration.checksum, time.time_ns() // 1000, __version__),
        )
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
    connection.execute("COMMIT")


def copy_into(connection: apsw.Connection, target: str) -> None:
    """A consistent copy of the whole database, 0600, on disk under its name or not there at all.

    An older copy of that name is replaced. Raises apsw.Error, OSError.
    """
    part = f"{target}.part"
    Path(part).unlink(missing_ok=True)
    fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        connection.execute("VACUUM INTO ?", (part,))
        os.fsync(fd)
        Path(part).replace(target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    sync_folder(Path(target).parent)
