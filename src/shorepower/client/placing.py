"""Where each result goes: over what is ours, beside what is the user's, never through a link."""

from __future__ import annotations

import base64
import os
import sys
import unicodedata
from collections.abc import Sequence

from msgspec import Struct

from ..model.errors import InvalidRequest
from ..model.job import Job
from ..model.junk import RESULTS_FOLDER, junk_kind
from ..model.results import FileEntry
from .content import FOLDER, SentTree, content_at, link_content
from .home import private_name
from .landing import REFUSED_NAME, InTheWay, Landing, portable_name, short_path, umask_now
from .ledger import Book
from .modes import permissions, wanted_mode
from .names import shown

__all__ = ["Decision", "Placing", "beside_name", "content_of", "raw_path", "target_of"]

_MOST_BESIDE = 100
_NAME_BYTES = 255
_SYSTEM = {"win32": "nt", "cygwin": "nt", "darwin": "darwin"}.get(sys.platform, "posix")


class Decision(Struct, frozen=True):
    """What to do with one result."""

    kind: str
    """``new`` (nothing is there), ``over`` (what is there is ours), ``same``, ``mode`` (the same but for
    permissions), ``later`` (a later job's result is there), ``full`` (every name beside it is taken)."""
    path: str
    before: os.stat_result | None = None
    content: str = ""
    """What is there now."""
    writer: str = ""
    """The job whose result is there."""
    mode: int = 0
    """The permissions it is to have."""


def raw_path(entry: FileEntry) -> bytes:
    """The path of a result, checked. Raises InvalidRequest for one that could leave its folder or that
    never travels."""
    path = base64.b64decode(entry.path_b64) if entry.path_b64 else os.fsencode(entry.path)
    parts = path.split(b"/")
    if path.startswith(b"/") or b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise InvalidRequest(f"{shown(path)} would leave the folder and is not written")
    above = b""
    for part in parts:
        if _is_git(part) or junk_kind(above, part, part is not parts[-1] or entry.kind == "dir"):
            raise InvalidRequest(f"{shown(path)} is nothing that travels and is not written")
        above = part
    return path


def _is_git(part: bytes) -> bool:
    """Whether some file system takes a name for ``.git``. Source: git, CVE-2014-9390."""
    text = part.decode(errors="replace")
    plain = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFKC", plain).casefold().rstrip(". ") in (".git", "git~1")


def target_of(entry: FileEntry) -> str:
    """Where a link among the results points."""
    return os.fsdecode(base64.b64decode(entry.target_b64)) if entry.target_b64 else entry.target


def content_of(entry: FileEntry) -> str:
    """A result as the ledger writes it; empty for a file whose digest is not known yet."""
    if entry.kind == "link":
        return link_content(target_of(entry))
    return FOLDER if entry.kind == "dir" else entry.digest


def beside_name(name: str, job: str, number: int) -> str:
    """``model.<id>.rds``, then ``model.<id>.2.rds``; short enough for a file system."""
    stem, suffix = os.path.splitext(name)
    added = f".{job}" + (f".{number}" if number > 1 else "") + suffix
    while stem and len(os.fsencode(stem + added)) > _NAME_BYTES:
        stem = stem[:-1]
    return stem + added if stem else name[:40] + added[:200]


class Placing:
    """Decides for the results of one job in one folder."""

    def __init__(
        self,
        job: Job,
        landing: Landing,
        book: Book,
        sent: SentTree | None,
        script: str,
        system: str = _SYSTEM,
    ) -> None:
        self._job, self._landing, self._book, self._sent = job, landing, book, sent
        self._script = os.path.normpath(script) if script.endswith(".ipynb") else ""
        self._system = system
        self._umask = umask_now()
        self._claimed: dict[str, str] = {}
        """Which result has which place: no two the same, whatever a system makes of their names."""
        self.results_folder = f"{os.fsdecode(RESULTS_FOLDER)}/{private_name(job)}"

    def wished(self, entry: FileEntry) -> str:
        """Where a result belongs, relative to the landing."""
        path = os.fsdecode(raw_path(entry))
        return f"{self.results_folder}/{path}" if entry.area in ("results", "tasks") else path

    def decide(self, entry: FileEntry, wished: str) -> Decision:
        """Look at what is there now and at its neighbours."""
        is_notebook = entry.area == "project" and wished == self._script
        path = "/".join(portable_name(part, self._system) for part in wished.split("/"))
        folder, _, name = path.rpartition("/")
        for number in range(1 if is_notebook else 0, _MOST_BESIDE):
            beside = beside_name(name, self._job.id, number) if number else name
            place, status = self._look(f"{folder}/{beside}".lstrip("/"))
            if self._claimed.get(place, wished) != wished:
                continue
            decision = self._judge(entry, wished, place, status)
            if decision is not None:
                self._claimed[place] = wished
                return decision
        return Decision("full", path)

    def _judge(
        self, entry: FileEntry, wished: str, place: str, status: os.stat_result | None
    ) -> Decision | None:
        """What to do at one place; None when something of the user's is there."""
        if status is None:
            return Decision("new", place)
        content, chunks = content_at(self._landing, place, status)
        if content and content == content_of(entry):
            mode = None if entry.kind != "file" else self._mode(entry, wished, place, status, chunks)
            return Decision("same" if mode is None else "mode", place, status, content, mode=mode or 0)
        if FOLDER in (content, entry.kind):
            return None
        writer = self._book.writer_of(place, content)
        if writer is not None and writer.created_at > self._job.created_at:
            return Decision("later", place, writer=writer.job)
        at_its_place = place == wished and entry.area == "project"
        if writer is not None or (at_its_place and self._was_sent(wished, content, chunks)):
            return Decision("over", place, status, content)
        return None

    def _mode(
        self, entry: FileEntry, wished: str, place: str, status: os.stat_result, chunks: tuple[str, ...]
    ) -> int | None:
        """The permissions that a file with the right content is to have, if other ones."""
        now, sent = permissions(status), None
        if self._sent is not None and place == wished and entry.area == "project":
            sent = self._sent.mode(wished, entry.digest, chunks)
        given = self._book.mode_of(place, entry.digest)
        wanted = wanted_mode(now, entry.mode, self._job, given=given, sent=sent, umask=self._umask)
        return wanted if wanted != now and self._system != "nt" else None

    def _was_sent(self, path: str, content: str, chunks: Sequence[str]) -> bool:
        return self._sent is not None and self._sent.holds(path, content, tuple(chunks))

    def _look(self, path: str) -> tuple[str, os.stat_result | None]:
        """(path, what is there); a link or a file where a folder should be is gone round."""
        parts = path.split("/")
        tried = [0] * len(parts)
        original = list(parts)
        while True:
            try:
                return "/".join(parts), self._landing.look("/".join(parts))
            except OSError as error:
                shorter = short_path("/".join(parts))
                if error.errno not in REFUSED_NAME or shorter == "/".join(parts):
                    raise InvalidRequest(f"{shown(path)}: {error.strerror}") from None
                parts, original = shorter.split("/"), shorter.split("/")
            except InTheWay as way:
                tried[way.depth] += 1
                if tried[way.depth] >= _MOST_BESIDE:
                    raise InvalidRequest(f"{shown(path)}: too many files stand in its way") from None
                parts[way.depth] = beside_name(original[way.depth], self._job.id, tried[way.depth])
