"""Where the output and the records of attempts lie, and how they are read and written. Blocking.

::

    <root>/<submission>/          0700, ours
        start.<task>.<restart>    see `records`
        exit.<task>.<restart>
        note.<task>.<restart>
        stdout.<task>.<restart>   appended to by the job
        stderr.<task>.<restart>

Only the fence is exclusive. A process that is killed at any point leaves each record whole or absent.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from datetime import datetime
from functools import cached_property
from pathlib import Path

from msgspec import Struct

from ..model.errors import StateDirectoryFault
from ..model.lifecycle import Reason
from ..model.output import Stream
from .records import (
    Exit,
    Fence,
    Note,
    Refusal,
    is_reserved,
    parse_exit,
    parse_fence,
    parse_note,
    parse_refused,
    write_note,
    write_refusal,
    write_refused,
)

__all__ = ["Evidence", "Part", "Spool"]

_SUBMISSION = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FENCE = re.compile(r"start\.(0|[1-9][0-9]*)\.0")
_OUTPUT = re.compile(r"stdout\.(0|[1-9][0-9]*)\.0")
_DRAFT = re.compile(r"note\.[0-9.]+\.new|refusal\.[0-9.]+")
_RECORD_LIMIT = 4096
_OPEN = os.O_APPEND | os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENXIO})
"""What opening says of a folder, a symbolic link, a pipe that nobody reads."""


class Evidence(Struct, frozen=True, kw_only=True):
    """What the records of one attempt say."""

    fence: Fence | None = None
    """None although ``fenced``: it was cut short."""
    fenced: bool = False
    """The fence is there: nobody else can start this attempt."""
    fenced_at: float = 0.0
    """When the fence was last changed, by the file system's clock."""
    exit: Exit | None = None
    reserved: bool = False
    """Room for the exit record was made: the program may have run."""
    note: Note | None = None


class Part:
    """The files of one attempt of one task."""

    def __init__(self, folder: Path, task: int, restart: int) -> None:
        self.folder, self._tail = folder, f"{task}.{restart}"
        self.submission, self.task, self.restart = folder.name, task, restart

    def open_output(self) -> tuple[int, int]:
        """Descriptors of stdout and stderr for the job, in a folder that only this user can enter.

        Raises StateDirectoryFault when something else lies there, OSError (disk full).
        """
        _make_folder(self.folder)
        where = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _check_folder(self.folder, os.fstat(where))
            stdout = _open_output(where, self.folder, f"{Stream.STDOUT.value}.{self._tail}")
            try:
                return stdout, _open_output(where, self.folder, f"{Stream.STDERR.value}.{self._tail}")
            except BaseException:
                os.close(stdout)
                raise
        finally:
            os.close(where)

    def output(self, stream: Stream) -> Path:
        """The file of one stream."""
        return self.folder / f"{stream.value}.{self._tail}"

    @cached_property
    def fence(self) -> Path:
        """Whose creation decides who starts the attempt."""
        return self.folder / f"start.{self._tail}"

    def evidence(self) -> Evidence:
        """Everything the records say now. Raises UnknownRecord, OSError."""
        started, fenced_at = _read_with_time(self.fence)
        ended = _read(self.folder / f"exit.{self._tail}") if started is not None else None
        note = _read(self.folder / f"note.{self._tail}")
        return Evidence(
            fence=parse_fence(started) if started else None,
            fenced=started is not None,
            fenced_at=fenced_at,
            exit=parse_exit(ended) if ended else None,
            reserved=is_reserved(ended) if ended else False,
            note=parse_note(note) if note else None,
        )

    def ended(self) -> Exit | None:
        """The exit record alone. Raises UnknownRecord, OSError."""
        data = _read(self.folder / f"exit.{self._tail}")
        return parse_exit(data) if data else None

    def forbid(self, reason: Reason, at: datetime) -> bool:
        """Win the fence, for good, with a record that says it must never start; False if it is taken."""
        _make_folder(self.folder)
        draft = self.folder / f"refusal.{self._tail}.{os.getpid()}"
        data = write_refusal(self.submission, self.task, self.restart, reason, at)
        try:
            _write(draft, data, durable=True)
            os.link(draft, self.fence)  # whole and exclusive in one step
        except FileExistsError:
            return False
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(self.folder)
        return True

    def write_note(self, note: Note) -> None:
        """Say why it is being ended, before it is. The newest note counts."""
        name = f"note.{self._tail}"
        draft = self.folder / f"{name}.new"
        _write(draft, write_note(note))
        draft.replace(self.folder / name)

    def drop_empty(self) -> None:
        """Nothing was written to a stream: its file need not stay. Raises OSError."""
        for stream in Stream:
            file = self.output(stream)
            try:
                if file.lstat().st_size == 0:
                    file.unlink()
            except FileNotFoundError:
                continue


class Spool:
    """The spool folder of a state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, submission: str) -> Path:
        """Of one submission. Raises ValueError for what is no submission id."""
        if not _SUBMISSION.fullmatch(submission):
            raise ValueError(f"{submission!r} is no submission id: it has to be a DNS label")
        return self.root / submission

    def part(self, submission: str, task: int, restart: int) -> Part:
        """The files of one attempt of one task."""
        return Part(self.folder(submission), task, restart)

    def begun(self) -> set[str]:
        """Submissions that have a folder: all others were never started. Raises OSError."""
        try:
            with os.scandir(self.root) as entries:
                return {entry.name for entry in entries}
        except FileNotFoundError:
            return set()

    def next_output(self, submission: str, start: int, stop: int) -> int | None:
        """See `Cluster.next_output`. Raises OSError."""
        names = [f"{self.folder(submission)}/{stream.value}" for stream in Stream]
        for task in range(start, stop):
            for name in names:
                try:
                    if os.lstat(f"{name}.{task}.0").st_size:
                        return task
                except FileNotFoundError:
                    continue
        return None

    def begun_tasks(self, submission: str) -> tuple[set[int], set[int]]:
        """The tasks of a submission that were started, or kept from it one by one; and those whose output
        has a file, as it is made before a start. Drafts of records that nobody finished go.

        Raises OSError. Only for who alone serves this spool folder.
        """
        fenced, opened = set[int](), set[int]()
        try:
            with os.scandir(self.folder(submission)) as entries:
                for entry in entries:
                    if found := _FENCE.fullmatch(entry.name):
                        fenced.add(int(found[1]))
                    elif found := _OUTPUT.fullmatch(entry.name):
                        opened.add(int(found[1]))
                    elif _DRAFT.fullmatch(entry.name):
                        Path(entry.path).unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        return fenced, opened

    def refuse(self, submission: str, refusal: Refusal) -> None:
        """Keep tasks that wait from ever starting, durably. Raises OSError."""
        folder = self.folder(submission)
        _make_folder(folder)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(folder / "refused", flags, 0o600), "ab") as file:
            file.write(b"\n" + write_refused(refusal))  # whatever a line before it was cut short at
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(folder)

    def refused(self, submission: str) -> list[Refusal]:
        """What was refused so far. Raises OSError, UnknownRecord."""
        try:
            return parse_refused((self.folder(submission) / "refused").read_bytes())
        except FileNotFoundError:
            return []

    def forget(self, submission: str) -> None:
        """Remove everything of a submission; harmless when it is gone."""
        try:
            shutil.rmtree(self.folder(submission))
        except FileNotFoundError:
            pass


def _make_folder(folder: Path) -> None:
    """The spool folder of a submission. Raises OSError."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def _check_folder(folder: Path, seen: os.stat_result) -> None:
    if seen.st_uid != os.getuid() or seen.st_mode & 0o077:
        raise StateDirectoryFault(f"{folder} has to be yours alone: owned by you, with mode 0700")


def _open_output(where: int, folder: Path, name: str) -> int:
    wrong = StateDirectoryFault(f"{folder / name} is no plain file of yours alone; remove it")
    try:
        fd = os.open(name, _OPEN, 0o600, dir_fd=where)
    except OSError as fault:
        if fault.errno in _NO_FILE:
            raise wrong from None
        raise
    seen = os.fstat(fd)
    if not stat.S_ISREG(seen.st_mode) or seen.st_nlink != 1 or seen.st_uid != os.getuid():
        os.close(fd)
        raise wrong
    os.set_blocking(fd, True)
    return fd


def _read(path: Path) -> bytes | None:
    return _read_with_time(path)[0]


def _read_with_time(path: Path) -> tuple[bytes | None, float]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None, 0.0
    try:
        return os.read(fd, _RECORD_LIMIT), os.fstat(fd).st_ctime
    finally:
        os.close(fd)


def _write(path: Path, data: bytes, *, durable: bool = False) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
