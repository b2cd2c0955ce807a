"""What SQLite says no with, in words."""

from __future__ import annotations

import apsw

from ...model.errors import StorageFault

__all__ = ["DamagedRow", "disk_refused", "in_words", "storage_fault"]


class DamagedRow(StorageFault):
    """A row holds what this version cannot read; nothing is guessed."""


# Source: https://sqlite.org/rescode.html. What is absent here is a mistake of ours, not of the disk.
_SENTENCES: dict[type[apsw.Error], str] = {
    apsw.FullError: "the disk or the quota is full",
    apsw.IOError: "the disk reports an input/output error",
    apsw.ReadOnlyError: "it can only be read",
    apsw.BusyError: "another program has it locked",
    apsw.LockedError: "another program has it locked",
    apsw.CantOpenError: "it cannot be opened",
    apsw.CorruptError: "its content is damaged",
    apsw.NotADBError: "it is not a database, or its content is damaged",
    apsw.PermissionsError: "access is not permitted",
    apsw.ProtocolError: "its locks do not work on this file system",
    apsw.NoLFSError: "the file system does not take files that large",
    apsw.NoMemError: "memory ran out",
    apsw.InterruptError: "the work was interrupted",
    apsw.ConnectionClosedError: "it is closed",
}


def disk_refused(error: BaseException) -> bool:
    """Whether the disk, and not the unit of work, is at fault."""
    return isinstance(error, tuple(_SENTENCES))


def in_words(error: apsw.Error | OSError) -> str:
    """Why, as the second half of a sentence, with SQLite's own name for it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    sentence = next((words for kind, words in _SENTENCES.items() if isinstance(error, kind)), str(error))
    return f"{sentence} ({_name(error)})"


def storage_fault(error: apsw.Error) -> StorageFault:
    """The fault for a change or a look that the disk refused."""
    return StorageFault(f"the job database refused: {in_words(error)}; nothing was changed")


def _name(error: apsw.Error) -> str:
    code = getattr(error, "extendedresult", 0)
    name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code)
    return str(name or type(error).__name__)
