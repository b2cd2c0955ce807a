"""Folders that belong to one user alone: made, checked, tightened, or refused in words."""

from __future__ import annotations

import errno
import pwd
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from ..model.errors import StateDirectoryFault

__all__ = ["explain", "private_folder", "user_name"]

_WHY = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "its file system is read-only",
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "your quota is used up",
    errno.ENOTDIR: "a part of its path is not a directory",
    errno.EEXIST: "a part of its path is not a directory",
    errno.ELOOP: "its path is a circle of symbolic links",
    errno.ENAMETOOLONG: "its path is too long",
    errno.ESTALE: "its file system was taken away",
}


def private_folder(
    path: Path,
    uid: int,
    *,
    remedy: str,
    marks: Collection[str] = (),
    harmless: Collection[str] = (),
    follow: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Path:
    """The real path of a folder that only ``uid`` can enter, made where it is missing.

    One that others can enter is closed to them when it holds one of ``marks`` (it is ours then), or
    nothing, or only what is ``harmless``. With ``follow`` off the folder itself is no symbolic link.
    Raises StateDirectoryFault ending in ``remedy``.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not follow and path.is_symlink():
            raise StateDirectoryFault(f"{path} is a symbolic link; {remedy}")
        real = path.resolve(strict=True)
        found = real.stat()
        if not stat.S_ISDIR(found.st_mode):  # pragma: no cover - mkdir has said so
            raise StateDirectoryFault(f"{path} is not a directory; {remedy}")
        if found.st_uid != uid:
            raise StateDirectoryFault(f"{path} belongs to {user_name(found.st_uid)}, not to you; {remedy}")
        if found.st_mode & 0o077:
            _close(real, marks, harmless, remedy)
            say(f"closed {path} to other users (mode 0700)")
    except FileExistsError:
        raise StateDirectoryFault(f"{path} is not a directory; {remedy}") from None
    except OSError as error:
        raise StateDirectoryFault(f"{path} cannot be used: {explain(error)}; {remedy}") from None
    return real


def explain(error: OSError) -> str:
    """Why the system said no, in words."""
    return _WHY.get(error.errno or 0) or (error.strerror or type(error).__name__).lower()


def user_name(uid: int) -> str:
    """``ada (1003)``, or the number alone."""
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"


def _close(real: Path, marks: Collection[str], harmless: Collection[str], remedy: str) -> None:
    """Take the rights of others away, but never of a folder that is used for something else."""
    names = {entry.name for entry in real.iterdir()}
    strange = sorted(names.difference(harmless))
    if strange and names.isdisjoint(marks):
        raise StateDirectoryFault(
            f"{real} can be entered by other users and holds other things ({strange[0]!r}); {remedy}"
        )
    real.chmod(0o700)
