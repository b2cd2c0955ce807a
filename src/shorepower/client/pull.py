"""Results come home: a user's file is never overwritten, nothing leaves the target, all can be undone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.errors import InvalidRequest
from ..model.job import Job
from ..model.patterns import Rules
from ..model.results import FileEntry
from .content import FOLDER, SentTree
from .home import OVER_THE_LIMIT, PullReport, Target, choose_target, machine_id
from .incoming import Fetch, Incoming, Receiving
from .landing import REFUSED_NAME, InTheWay, Landing, part_path, short_path, umask_now
from .ledger import Book, Ledger, Line
from .modes import change_mode
from .names import listed, quoted, shown
from .placing import Decision, Placing, content_of, raw_path, target_of
from .undo import undo

if TYPE_CHECKING:
    from .task_home import IndexFile

__all__ = [
    "ATTACHED_LIMIT_BYTES",
    "PullReport",
    "Target",
    "choose_target",
    "machine_id",
    "pull",
    "undo",
]

ATTACHED_LIMIT_BYTES = 1 << 30
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_TRIES = 5
_FEW_NAMES = 5
_FEW_FILES = 16
"""So many files are synced to disk one by one; more of them all at once."""


def pull(
    job: Job,
    entries: Sequence[FileEntry],
    target: Target,
    *,
    fetch: Fetch,
    blob: Callable[[str], bytes],
    tree: str | None,
    ledger: Ledger,
    script: str = "",
    globs: Sequence[str] = (),
    index: IndexFile | None = None,
    limit_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PullReport:
    """Write the results of a job into its target.

    ``entries`` is the answer of ``GET /v1/jobs/{job}/files``; ``fetch`` does one ``files:read`` with the
    ``entries`` of its body and yields (header, bytes) of each frame; ``blob`` reads a tree object
    (``GET /v1/blobs/{digest}``) and ``tree`` is the job's `JobSpec.tree`, by which a file that was sent
    is known again. ``script`` is the script's path in the project: a notebook comes home as
    ``x.<id>.ipynb``. ``index`` is the table of an array, written whatever ``globs`` say.
    ``limit_bytes``: what is fetched at most; the rest is ``left``. ``progress`` hears (bytes done, bytes in
    all). Going on after a break, or a kill, fetches only what is not here yet.
    Raises what ``fetch`` and ``blob`` raise, Busy while another pull into the target goes on, and
    InvalidRequest when the target cannot be used.
    """
    try:
        target.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        told = f"results cannot go to {shown(str(target.folder))}: {error.strerror}"
        raise InvalidRequest(told) from error
    with ledger.book(target.folder) as book:
        landing = Landing(target.folder)
        try:
            sent = SentTree(tree, blob) if target.at_home else None
            run = _Pull(job, landing, book, Placing(job, landing, book, sent, script), progress)
            run.select(entries, globs)
            if index is not None:
                run.select([index.entry], ())
                fetch = index.beside(fetch)
            run.receive(fetch, limit_bytes)
            run.make_the_rest()
            return run.report(target.folder)
        finally:
            landing.close()
            ledger.clear_undo()


class _DiskFull(Exception):
    """Nothing more can be written."""


class _Pull:
    """One pull, and its account so far."""

    def __init__(
        self,
        job: Job,
        landing: Landing,
        book: Book,
        placing: Placing,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._job, self._landing, self._book, self._placing = job, landing, book, placing
        self._progress, self._done_bytes, self._total_bytes = progress, 0, 0
        self._umask = umask_now()
        self._files: list[tuple[FileEntry, str, Decision]] = []
        self._others: list[tuple[FileEntry, str, Decision]] = []
        self._mismatched: set[str] = set()
        self._written: list[str] = []
        self._beside: list[tuple[str, str]] = []
        self._unchanged: list[str] = []
        self._left: list[tuple[str, int, str]] = []
        self._faults: list[str] = []
        self._notes: list[str] = []

    def select(self, entries: Sequence[FileEntry], globs: Sequence[str]) -> None:
        """Decide for each entry that is asked for."""
        rules = Rules(globs)
        asked = 0
        seen: list[str] = []
        for entry in entries:
            try:
                path = raw_path(entry)
                wished = self._placing.wished(entry)
                seen.append(wished)
                names = {path, os.fsencode(wished)}
                if entry.area == "tasks":
                    names.add(path.partition(b"/")[2] or path)
                if globs and not any(rules.takes(name, entry.kind == "dir") for name in names):
                    continue
                asked += 1
                decision = self._placing.decide(entry, wished)
            except InvalidRequest as wrong:
                self._faults.append(str(wrong))
                continue
            if self._settled(entry, wished, decision):
                self._drop_part(decision.path, wished)
                continue
            (self._files if entry.kind == "file" else self._others).append((entry, wished, decision))
        if globs and not asked:
            there = f"there is {listed(seen, _FEW_NAMES)}" if seen else "nothing came out"
            self._faults.append(f"nothing fits {listed(globs)}: {there}")

    def receive(self, fetch: Fetch, limit_bytes: int | None) -> None:
        """Fetch what is within the limit, the small files first, and give each its name."""
        self._files.sort(key=lambda one: one[0].size_bytes)
        room = limit_bytes
        waiting: dict[Incoming, tuple[str, Decision]] = {}
        for entry, wished, decision in self._files:
            if room is not None and entry.size_bytes > room:
                self._left.append((shown(wished), entry.size_bytes, OVER_THE_LIMIT))
                continue
            room = None if room is None else room - entry.size_bytes
            self._total_bytes += entry.size_bytes
            decision = self._reachable(decision)
            part = part_path(decision.path, wished, self._job.id)
            waiting[Incoming(self._landing, entry, part)] = (wished, decision)
        each_synced = len(waiting) <= _FEW_FILES
        try:
            while waiting:
                again: dict[Incoming, tuple[str, Decision]] = {}
                for file in Receiving(fetch, self._heard).each(list(waiting)):
                    wished, decision = waiting[file]
                    self._note_made()
                    if not self._arrived(file, wished, decision, each_synced):
                        again[file] = (wished, decision)
                    del waiting[file]
                waiting = again
        except _DiskFull as full:
            self._faults.append(str(full))
            for file, (wished, _) in waiting.items():
                self._left.append((shown(wished), file.entry.size_bytes, "no more could be written"))
        finally:
            for file in waiting:
                file.give_up()
            if not each_synced and hasattr(os, "sync"):
                os.sync()

    def make_the_rest(self) -> None:
        """Empty folders and links; links last, so that nothing of ours is written below one."""
        for entry, wished, decision in sorted(self._others, key=lambda one: one[0].kind):
            decision = self._reachable(decision)
            try:
                if entry.kind == "dir":
                    self._make_folder(entry, wished, decision)
                else:
                    self._make_link(entry, wished, decision)
            except OSError as error:
                self._fault(wished, error)

    def report(self, folder: Path) -> PullReport:
        """The account."""
        return PullReport(
            folder=folder,
            written=tuple(self._written),
            beside=tuple(self._beside),
            unchanged=tuple(self._unchanged),
            left=tuple(self._left),
            faults=tuple(self._faults),
            notes=tuple(self._notes),
            size_bytes=self._done_bytes,
        )

    def _arrived(self, file: Incoming, wished: str, decision: Decision, sync: bool) -> bool:
        """Give a file its name; False when it must be fetched once more."""
        entry = file.entry
        if not file.error and entry.digest and file.digest != entry.digest:
            self._heard(-file.offset)
            file.start_over()
            if wished not in self._mismatched:
                self._mismatched.add(wished)
                return False
            file.error = "what arrives is not what was listed"
        try:
            if isinstance(file.error, OSError):
                raise file.error
            if file.error:
                self._faults.append(f"{shown(wished)}: {shown(file.error)}")
                file.give_up()
                return True
            if sync:
                file.sync()
            file.close()
            self._landing.finish(file.part, mode=entry.mode & ~self._umask, mtime_ns=entry.mtime_ns)
            self._name(file.part, entry, file.digest, wished, decision)
            self._landing.remove(file.part)
        except OSError as error:
            file.give_up()
            self._fault(wished, error)
        return True

    def _drop_part(self, path: str, wished: str) -> None:
        """Remove what a pull that was killed at the last moment left."""
        with suppress(OSError, InTheWay):
            self._landing.remove(part_path(path, wished, self._job.id))

    def _make_folder(self, entry: FileEntry, wished: str, decision: Decision) -> None:
        if decision.kind != "new":
            self._settled(entry, wished, decision)
            return
        self._landing.make_folder(decision.path, entry.mode & ~self._umask | 0o700, entry.mtime_ns)
        self._note_made()
        self._note(wished, decision.path, FOLDER, "")
        self._tell(wished, decision.path)

    def _make_link(self, entry: FileEntry, wished: str, decision: Decision) -> None:
        part = part_path(decision.path, wished, self._job.id)
        self._landing.remove(part)
        try:
            self._landing.symlink(part, target_of(entry), entry.mtime_ns)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP) and os.name != "nt":
                raise
            self._left.append(
                (shown(wished), 0, f"no links can be made here (it leads to {quoted(target_of(entry))})")
            )
            return
        self._note_made()
        self._name(part, entry, content_of(entry), wished, decision)
        self._landing.remove(part)

    def _name(self, part: str, entry: FileEntry, content: str, wished: str, decision: Decision) -> None:
        """Move a finished part to its place; what came there meanwhile is looked at anew."""
        mode = entry.mode & ~self._umask if entry.kind == "file" else None
        for _ in range(_TRIES):
            if self._settled(entry, wished, decision):
                return
            try:
                path = decision.path
                if decision.kind == "new":
                    path = self._put_new(part, content, wished, path, mode)
                else:
                    self._put_over(part, content, wished, decision, mode)
            except (FileExistsError, InTheWay):
                decision = self._placing.decide(entry, wished)
                continue
            self._tell(wished, path)
            return
        self._faults.append(f"{shown(wished)}: somebody else writes there all the time")

    def _put_new(self, part: str, content: str, wished: str, path: str, mode: int | None) -> str:
        """Where it was put: at ``path``, or near it where the system refuses the name."""
        try:
            self._landing.spot(path, make=True)
            self._note_made()
            self._note(wished, path, content, "", mode=mode)
            self._landing.put_new(part, path)
        except (OSError, InTheWay) as error:
            self._note(wished, path, content, "", undone=True)
            shorter = short_path(path)
            refused = isinstance(error, OSError) and error.errno in REFUSED_NAME
            if not refused or shorter == path:
                raise
            return self._put_new(part, content, wished, shorter, mode)
        return path

    def _put_over(self, part: str, content: str, wished: str, decision: Decision, mode: int | None) -> None:
        """Replace what is there, which is kept for `undo`. Raises FileExistsError when it is not what it
        was any more."""
        now, before = self._landing.look(decision.path), decision.before
        if now is None or before is None or _mark(now) != _mark(before):
            raise FileExistsError
        self._note(wished, decision.path, content, self._keep(decision), mode=mode)
        self._landing.put_over(part, decision.path)

    def _keep(self, decision: Decision) -> str:
        """Keep what is to be replaced; how the ledger names it."""
        if not decision.content.startswith("sha256:"):
            return decision.content
        place = self._book.undo_place(self._job.id)
        self._landing.keep_copy(decision.path, place)
        return place.name

    def _reachable(self, decision: Decision) -> Decision:
        """Make the folders above; where the system refuses their names, others."""
        try:
            self._landing.spot(decision.path, make=True)
        except OSError as error:
            if error.errno in REFUSED_NAME:
                return Decision("new", short_path(decision.path))
        except InTheWay:
            pass  # found anew when it gets its name
        self._note_made()
        return decision

    def _settled(self, entry: FileEntry, wished: str, decision: Decision) -> bool:
        """Whether there is nothing to write; then that is told."""
        if decision.kind == "same":
            self._unchanged.append(shown(decision.path))
        elif decision.kind == "mode":
            self._change_mode(wished, decision)
        elif decision.kind == "later":
            why = f"the result of job {decision.writer}, submitted later, is there"
            self._left.append((shown(wished), entry.size_bytes, why))
        elif decision.kind == "full":
            self._faults.append(f"{shown(wished)}: every name beside it is taken")
        else:
            return False
        return True

    def _change_mode(self, wished: str, decision: Decision) -> None:
        """The content is here; the permissions come home alone."""
        assert decision.before is not None
        what = (decision.path, decision.content, decision.before, decision.mode)
        try:
            change_mode(self._landing, self._book, self._job, *what)
        except (OSError, InTheWay) as error:
            why = getattr(error, "strerror", "") or "something is in the way"
            self._faults.append(f"{shown(wished)}: its permissions stay as they are: {why}")
        else:
            self._tell(wished, decision.path)

    def _tell(self, wished: str, path: str) -> None:
        if path == wished:
            self._written.append(shown(path))
        else:
            self._beside.append((shown(wished), shown(path)))

    def _note(self, wished: str, path: str, content: str, was: str, **more: Any) -> None:
        self._book.note(
            Line(
                job=self._job.id,
                created_at=self._job.created_at,
                path=path,
                content=content,
                was=was,
                beside=path != wished,
                **more,
            )
        )

    def _note_made(self) -> None:
        made, self._landing.made = self._landing.made, []
        for folder in made:
            self._note(folder, folder, FOLDER, "")

    def _fault(self, wished: str, error: OSError) -> None:
        if error.errno in _FULL:
            raise _DiskFull(f"{self._landing.root} cannot take more: {error.strerror}")
        self._faults.append(f"{shown(wished)}: {error.strerror or error}")

    def _heard(self, count: int) -> None:
        self._done_bytes += count
        if self._progress is not None:
            self._progress(self._done_bytes, self._total_bytes)


def _mark(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
