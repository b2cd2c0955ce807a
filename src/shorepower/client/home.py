"""Where results go, and the account of what a pull did."""

from __future__ import annotations

import hashlib
import re
import socket
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from msgspec import Struct

from ..model.errors import InvalidRequest
from ..model.job import Job
from .names import shown

__all__ = ["OVER_THE_LIMIT", "PullReport", "Target", "choose_target", "machine_id", "private_name"]

OVER_THE_LIMIT = "over the limit"
_MACHINE_FILES = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_MACHINE_PROGRAMS = {
    "darwin": ("/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"),
    "win32": ("reg", "query", r"HKLM\SOFTWARE\Microsoft\Cryptography", "/v", "MachineGuid", "/reg:64"),
}
_NAME_BYTES = 200


class Target(Struct, frozen=True, kw_only=True):
    """Where results go."""

    folder: Path
    at_home: bool
    """It is the project that the job came from: what was sent counts as ours there."""
    why: str
    """In words, for the line on stderr."""


class PullReport(Struct, frozen=True, kw_only=True):
    """What a pull, or its undoing, did; paths are relative to the folder, as text that can be shown."""

    folder: Path
    written: tuple[str, ...] = ()
    beside: tuple[tuple[str, str], ...] = ()
    """(the path it would have had, where it was put instead): there lies a file of the user's, a
    notebook that ran, a name that this system cannot hold."""
    unchanged: tuple[str, ...] = ()
    left: tuple[tuple[str, int, str], ...] = ()
    """(path, bytes, why) of what was not fetched: over the limit, or a later job's result is there."""
    faults: tuple[str, ...] = ()
    """Sentences; not empty means that something did not come home."""
    notes: tuple[str, ...] = ()
    size_bytes: int = 0
    """Fetched now."""

    @property
    def complete(self) -> bool:
        """Everything that was asked for is home."""
        return not self.faults and not any(why == OVER_THE_LIMIT for _, _, why in self.left)


@cache
def machine_id() -> str:
    """An identity of this machine that survives renaming it, for `Origin.host`; never the bare
    machine-id. Source: machine-id(5), which asks to hash it."""
    found = next((text for file in _MACHINE_FILES if (text := _read(file))), "")
    if not found and sys.platform in _MACHINE_PROGRAMS:
        found = _asked(_MACHINE_PROGRAMS[sys.platform])
    if not found:
        import uuid

        found = f"{socket.gethostname()} {uuid.getnode()}"
    return hashlib.sha256(f"shorepower {found}".encode()).hexdigest()[:32]


def choose_target(job: Job, *, cwd: Path, to: Path | None = None, machine: str | None = None) -> Target:
    """``--to DIR``; else the project the job came from, on that machine while the folder is there; else
    ``./<name>-<id>/``. Nothing is made yet. Raises InvalidRequest when DIR is no folder."""
    origin = job.origin
    home: Path | None = None
    if origin is not None and origin.host == (machine or machine_id()) and Path(origin.directory).is_dir():
        home = Path(origin.directory).resolve()
    if to is not None:
        folder = (cwd / to).resolve()
        if folder.exists() and not folder.is_dir():
            raise InvalidRequest(f"--to {shown(str(to))}: that is no folder")
        return Target(folder=folder, at_home=folder == home, why="--to")
    if home is not None:
        return Target(folder=home, at_home=True, why="the project it came from")
    folder = cwd.resolve() / private_name(job)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InvalidRequest(f"{shown(str(folder))} is in the way; say where results go with --to DIR")
    return Target(folder=folder, at_home=False, why="the project it came from is not here")


def private_name(job: Job) -> str:
    """``<name>-<id>`` as the name of a folder on any system."""
    safe = "".join(letter if letter.isalnum() or letter in "-_.+ " else "_" for letter in job.name)
    while len(safe.encode(errors="replace")) > _NAME_BYTES:
        safe = safe[:-1]
    return f"{safe.strip(' .') or 'job'}-{job.id}"


def _read(file: str) -> str:
    try:
        text = Path(file).read_text().strip()
    except (OSError, ValueError):
        return ""
    return "" if text == "uninitialized" else text


def _asked(argv: Sequence[str]) -> str:
    """The first UUID that a program of the system says."""
    import subprocess

    try:
        said = subprocess.run(argv, capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\b[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b", said)
    return found[0] if found else ""
