"""What pulls of ours have written on this machine, and what was there before.

Below ``<state>/client/``: ``pulls/<folder>.jsonl`` has one line for each thing written into one folder,
added before it is written; ``undo/<job>/`` holds what was replaced. Losing all of it is harmless: what
we wrote then counts as the user's.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..model.errors import Busy, InvalidRequest, NotFound
from .names import shown

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Book", "Ledger", "Line", "was_mode"]

_LOCK_WAIT_S = 60.0
_LOCK_POLL_S = 0.1
_COMPACT_BYTES = 16 << 20
_COMPACT_LINES = 50_000
UNDO_KEEP_S = 30 * 86_400.0
UNDO_MOST_BYTES = 10 << 30


_MODE = "mode:"


def was_mode(mode: int) -> str:
    """How a line says that only the permissions changed: what they were."""
    return f"{_MODE}{mode:o}"


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a pull did, or undid, to one path."""

    v: int = 1
    job: str
    created_at: datetime
    """When the job was submitted: among our own the later one wins."""
    path: str
    """Relative to the folder; bytes that are not UTF-8 as ``\\udcXX``, spelled by JSON."""
    content: str
    """Digest of a file, ``link:<target>``, or ``dir``: what is there after."""
    was: str = ""
    """What was there before: empty for nothing, ``link:<target>``, the number of a file kept in
    ``undo/<job>/``, or ``mode:<octal>`` where the content stayed."""
    beside: bool = False
    undone: bool = False
    mode: int | None = None
    """Of a file: the permissions it has after."""

    @property
    def mode_before(self) -> int | None:
        """Of a line that changed permissions alone: those that were there before."""
        return int(self.was.removeprefix(_MODE), 8) if self.was.startswith(_MODE) else None


class Ledger:
    """All that pulls on this machine have done."""

    def __init__(self, client_dir: Path) -> None:
        self.client_dir = client_dir

    def beside(self, root: Path) -> frozenset[str]:
        """Paths, relative to ``root``, that pulls put beside a user's file; never sent."""
        lines = _read_lines(self._file(root), only=b'"beside":true')
        return frozenset(line.path for line in lines)

    @contextmanager
    def book(self, folder: Path) -> Iterator[Book]:
        """The ledger of one folder, for this process alone. Raises Busy when another pull into the
        folder goes on, InvalidRequest when it cannot be kept."""
        file = self._file(folder)
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(file.with_suffix(".lock"), folder):
                yield Book(self.client_dir, file, folder)
        except OSError as error:
            if error.filename is None or not str(error.filename).startswith(str(self.client_dir)):
                raise
            told = f"{shown(str(self.client_dir))} cannot be written: {error.strerror}"
            raise InvalidRequest(f"{told}; what a pull replaces is kept there") from error

    def folders_of(self, job: str) -> list[Path]:
        """The folders that pulls of a job wrote into and were not undone. Raises NotFound for none."""
        found = []
        for file in sorted((self.client_dir / "pulls").glob("*.jsonl")):
            lines = _read_lines(file, only=job.encode())
            folder = _folder_of(file)
            if folder and _standing(lines, job):
                found.append(Path(folder))
        if not found:
            raise NotFound(f"no pull of {job} is known here, or all of it was undone")
        return found

    def _file(self, folder: Path) -> Path:
        name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        return self.client_dir / "pulls" / f"{name}.jsonl"

    def clear_undo(self) -> None:
        """Drop what was kept for too long, or is too much, the oldest first; the newest stays."""
        kept = []
        for folder in (self.client_dir / "undo").glob("*"):
            with suppress(OSError):
                size = sum(file.stat().st_size for file in folder.iterdir())
                kept.append((folder.stat().st_mtime, size, folder))
        total, now = 0, time.time()
        for number, (touched, size, folder) in enumerate(sorted(kept, reverse=True)):
            total += size
            if number == 0:
                continue
            if now - touched > UNDO_KEEP_S or total > UNDO_MOST_BYTES:
                _remove(folder)


class Book:
    """The lines of one folder, while nobody else writes them."""

    def __init__(self, client_dir: Path, file: Path, folder: Path) -> None:
        self._undo, self._file = client_dir / "undo", file
        self._lines: list[Line] = []
        self._numbers: dict[str, int] = {}
        self._by_path: dict[str, list[Line]] = {}
        _mend(file, folder)
        for line in _read_lines(file):
            self._keep(line)

    def writer_of(self, path: str, content: str) -> Line | None:
        """The newest line that put this very content at a path."""
        return next((line for line in self._of(path, content) if line.mode_before is None), None)

    def mode_of(self, path: str, content: str) -> Line | None:
        """The newest line that gave this content at a path its permissions."""
        return next((line for line in self._of(path, content) if line.mode is not None), None)

    def _of(self, path: str, content: str) -> Iterator[Line]:
        lines = reversed(self._by_path.get(path, ()))
        return (line for line in lines if not line.undone and line.content == content)

    def standing(self, job: str) -> list[Line]:
        """What a job's pulls did and nobody undid, in order."""
        return _standing(self._lines, job)

    def note(self, line: Line) -> None:
        """Add a line; on return it survives the end of this process."""
        self._append(msgspec.to_builtins(line))
        self._keep(line)

    def undo_place(self, job: str, name: str = "") -> Path:
        """A free place for a replaced file of a job, or the place of one that is kept."""
        folder = self._undo / job
        if name:
            return folder / name
        if job not in self._numbers:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            taken = (int(file.name) for file in folder.iterdir() if file.name.isdecimal())
            self._numbers[job] = max(taken, default=0)
        self._numbers[job] += 1
        return folder / str(self._numbers[job])

    def _keep(self, line: Line) -> None:
        self._lines.append(line)
        self._by_path.setdefault(line.path, []).append(line)

    def _append(self, line: dict[str, Any]) -> None:
        data = _spelled(line) + b"\n"
        fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(errno.ENOSPC, "No space left on device", str(self._file))
        finally:
            os.close(fd)


# What few of those who ask for paths need is imported here. JSON is Python's own: a path may be no Unicode.


def _spelled(value: dict[str, Any]) -> bytes:
    import json

    return json.dumps(value, separators=(",", ":")).encode()


def _read(text: bytes) -> Any:
    import json

    return json.loads(text)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _standing(lines: Sequence[Line], job: str) -> list[Line]:
    standing: list[Line] = []
    for line in lines:
        if line.job != job:
            continue
        if not line.undone:
            standing.append(line)
            continue
        for at in range(len(standing) - 1, -1, -1):
            if (standing[at].path, standing[at].content) == (line.path, line.content):
                del standing[at]
                break
    return standing


def _read_lines(file: Path, only: bytes = b"") -> list[Line]:
    """The lines that hold ``only``; what is damaged is not there."""
    try:
        data = file.read_bytes()
    except OSError:
        return []
    found = []
    for text in data.split(b"\n")[1:]:
        if text and only in text:
            try:
                found.append(msgspec.convert(_read(text), Line))
            except ValueError:
                continue
    return found


def _folder_of(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            return str(_read(opened.readline())["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _mend(file: Path, folder: Path) -> None:
    """See that a file begins with its folder and ends with a whole line, and is not too long."""
    data = file.read_bytes() if file.exists() else b""
    first, *rest = data.split(b"\n")
    if _folder_of(file) == str(folder) and rest[-1:] == [b""] and len(data) <= _COMPACT_BYTES:
        return
    header = _spelled({"v": 1, "folder": str(folder)})
    lines = [line for line in (rest if _folder_of(file) else [first, *rest]) if line]
    temporary = file.with_suffix(".new")
    temporary.write_bytes(b"\n".join([header, *lines[-_COMPACT_LINES:], b""]))
    temporary.replace(file)


@contextmanager
def _locked(file: Path, folder: Path) -> Iterator[None]:
    fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    until = time.monotonic() + _LOCK_WAIT_S
    try:
        while not _take(fd):
            if time.monotonic() > until:
                raise Busy(f"another pull into {shown(str(folder))} is going on; wait until it has ended")
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(fd)


def _take(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # where a file system has no locks, two pulls at once are the user's to avoid
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
    return True
