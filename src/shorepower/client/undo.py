"""A pull is undone: what it replaced comes back, what it added goes."""

from __future__ import annotations

from msgspec.structs import replace

from .content import FOLDER, content_at
from .home import PullReport
from .landing import InTheWay, Landing, part_path
from .ledger import Book, Ledger, Line
from .modes import permissions
from .names import shown

__all__ = ["undo"]


def undo(job_id: str, ledger: Ledger) -> PullReport:
    """Put back what pulls of this job replaced, and remove what they added.

    ``written`` names what was put back or removed, ``left`` what was changed since and stays. Raises
    NotFound when no pull of the job is known, Busy while another pull goes on there.
    """
    folders = ledger.folders_of(job_id)
    several = len(folders) > 1
    undone: list[str] = []
    left: list[tuple[str, int, str]] = []
    faults: list[str] = []
    for folder in folders:
        prefix = f"{shown(str(folder))}/" if several else ""
        if not folder.is_dir():
            faults.append(f"{shown(str(folder))} is not there")
            continue
        with ledger.book(folder) as book:
            landing = Landing(folder)
            try:
                for line in reversed(book.standing(job_id)):
                    name = prefix + shown(line.path)
                    try:
                        why = _undo_one(landing, book, line)
                    except (OSError, InTheWay) as error:
                        faults.append(f"{name}: {getattr(error, 'strerror', '') or 'a link is in the way'}")
                        continue
                    if why:
                        left.append((name, 0, why))
                    elif line.content != FOLDER:
                        undone.append(name)
            finally:
                landing.close()
    return PullReport(folder=folders[0], written=tuple(undone), left=tuple(left), faults=tuple(faults))


def _undo_one(landing: Landing, book: Book, line: Line) -> str:
    """Undo one line; why not, if it is not done. Raises OSError, InTheWay."""
    if line.content == FOLDER:
        try:
            landing.remove(line.path, folder=True)
        except OSError:
            return ""  # something of the user's is in it
        book.note(replace(line, undone=True))
        return ""
    status = landing.look(line.path)
    now = content_at(landing, line.path, status)[0] if status is not None else ""
    if now not in (line.content, ""):
        since = book.writer_of(line.path, now)
        return f"job {since.job} wrote it since" if since is not None else "changed since"
    if line.mode_before is not None:
        if status is not None:
            if permissions(status) != line.mode:
                return "its permissions were changed since"
            landing.change_mode(line.path, line.mode_before, status)
    elif line.was.startswith("link:"):
        part = part_path(line.path, line.path, "undo")
        landing.remove(part)
        landing.symlink(part, line.was.removeprefix("link:"), 0)
        landing.put_over(part, line.path)
    elif line.was:
        kept = book.undo_place(line.job, line.was)
        if not kept.exists():
            return "what was there is not kept any more"
        landing.bring_back(kept, line.path)
        kept.unlink()
    else:
        landing.remove(line.path)
    book.note(replace(line, undone=True))
    return ""
