"""What this client last saw of each server, for when it cannot be reached. Losing it is harmless."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from ..model.decoding import json_decoder
from ..model.errors import Ambiguous, NotFound
from ..model.job import Job
from ..model.output import OutputPiece
from ..wire.http.frames import FrameReader, encode_frame

__all__ = ["Followed", "Seen", "all_seen"]

JOBS_KEPT = 200
OUTPUT_LIMIT_BYTES = 16 << 20
"""Of one job; what comes later is not remembered."""
OUTPUTS_KEPT = 50


class _Kept(Struct, frozen=True, kw_only=True):
    v: int = 1
    server: str
    at: datetime
    jobs: tuple[Job, ...]


class Seen:
    """The jobs of one server, as of the last time they were looked at."""

    def __init__(self, client_dir: Path, label: str) -> None:
        self._label = label
        self._file = client_dir / "seen" / f"{hashlib.sha256(label.encode()).hexdigest()[:16]}.json"

    def remember(self, jobs: Iterable[Job]) -> None:
        """Put these over what was known before; the newest are kept."""
        kept = {job.id: job for job in (*self._load().jobs, *jobs)}
        newest = sorted(kept.values(), key=lambda job: job.created_at, reverse=True)[:JOBS_KEPT]
        now = datetime.now(UTC)
        _replace(self._file, msgspec.json.encode(_Kept(server=self._label, at=now, jobs=tuple(newest))))

    def jobs(self) -> tuple[datetime | None, tuple[Job, ...]]:
        """(when, newest first); None and nothing if this client never saw any."""
        kept = self._load()
        return (kept.at if kept.jobs else None), kept.jobs

    def job(self, name: str) -> tuple[datetime, Job]:
        """One by id, prefix, ``@name`` or ``@-1``. Raises NotFound, Ambiguous."""
        at, jobs = self.jobs()
        fits = list(jobs) if name == "@-1" else _named(name, jobs)
        if at is None or not fits:
            raise NotFound(f"this client has seen no job {name!r}")
        if len(fits) > 1 and not name.startswith("@"):
            raise Ambiguous(name, [job.id for job in fits])
        return at, fits[0]

    def _load(self) -> _Kept:
        try:
            return json_decoder(_Kept).decode(self._file.read_bytes())
        except (OSError, msgspec.DecodeError):
            return _Kept(server=self._label, at=datetime.now(UTC), jobs=())


def all_seen(client_dir: Path) -> list[Job]:
    """Jobs of every server, newest first."""
    jobs: list[Job] = []
    try:
        files = list((client_dir / "seen").glob("*.json"))
    except OSError:
        return []
    for file in files:
        try:
            jobs += json_decoder(_Kept).decode(file.read_bytes()).jobs
        except (OSError, msgspec.DecodeError):
            continue
    return sorted(jobs, key=lambda job: job.created_at, reverse=True)


class Followed:
    """The output of one job that this client has printed, as frames in one file."""

    def __init__(self, client_dir: Path, job: str) -> None:
        self._file = client_dir / "followed" / job
        self._size = 0

    @classmethod
    def jobs(cls, client_dir: Path, prefix: str) -> list[str]:
        """Ids that begin with ``prefix`` of jobs whose output was followed."""
        try:
            names = [file.name for file in (client_dir / "followed").iterdir()]
        except OSError:
            return []
        return sorted(name for name in names if name.startswith(prefix))

    def add(self, piece: OutputPiece) -> None:
        """Remember a piece, up to the limit."""
        if not piece.data or self._size > OUTPUT_LIMIT_BYTES:
            return
        try:
            if not self._size:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _drop_oldest(self._file.parent)
            with self._file.open("ab" if self._size else "wb") as file:
                head = {
                    "stream": piece.stream, "task": piece.task, "offset": piece.offset,
                    "attempt": piece.attempt,
                }  # fmt: skip
                file.write(encode_frame(head, piece.data))
        except OSError:
            pass  # it is only remembered for a bad day
        self._size += len(piece.data)

    def pieces(self) -> list[OutputPiece]:
        """What is remembered, in the order it came; a torn end is left out."""
        from .stream import piece_of

        try:
            data = self._file.read_bytes()
        except OSError:
            return []
        found = [piece_of({**head, "kind": "output"}, body) for head, body in FrameReader().feed(data)]
        return [piece for piece in found if piece is not None]


def _named(name: str, jobs: Iterable[Job]) -> list[Job]:
    if name.startswith("@"):
        return [job for job in jobs if job.name == name[1:]]
    return [job for job in jobs if job.id.startswith(name)]


def _drop_oldest(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
    for file in files[: max(len(files) - OUTPUTS_KEPT + 1, 0)]:
        file.unlink(missing_ok=True)


def _replace(file: Path, data: bytes) -> None:
    """Whole or not at all, for nobody else to read. Failing is harmless."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as made:
            made.write(data)
        beside.replace(file)
    except OSError:
        pass  # it is only remembered for a bad day
