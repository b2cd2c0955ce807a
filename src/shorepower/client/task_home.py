"""What tasks wrote comes home: a folder a task, and ``index.csv`` that tells them apart."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from msgspec import Struct

from ..model.results import FileEntry
from ..model.task import Task
from .incoming import Fetch
from .task_table import gather, write_csv
from .tasks import among

__all__ = ["AREA", "INDEX", "IndexFile", "index_file", "only", "task_of"]

AREA = "tasks"
INDEX = "index.csv"
_PIECE_BYTES = 1 << 20


class IndexFile(Struct, frozen=True, kw_only=True):
    """``index.csv``, made here: it goes home as any result does, so that a pull of it can be undone."""

    entry: FileEntry
    file: BinaryIO

    def beside(self, fetch: Fetch) -> Fetch:
        """What fetches this file as well."""

        def both(wanted: Sequence[Mapping[str, Any]]) -> Iterable[tuple[Mapping[str, Any], bytes]]:
            for one in wanted:
                if _is_index(one):
                    yield from self._pieces(int(one["offset"]))
            rest = [one for one in wanted if not _is_index(one)]
            if rest:
                yield from fetch(rest)

        return both

    def _pieces(self, offset: int) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        self.file.seek(offset)
        while True:
            data = self.file.read(_PIECE_BYTES)
            eof = offset + len(data) == self.entry.size_bytes
            yield {"path": INDEX, "area": AREA, "offset": offset, "eof": eof}, data
            offset += len(data)
            if eof:
                return


def index_file(tasks: Iterable[Task], ended_at: datetime | None) -> IndexFile:
    """The table of these tasks; it bears the time of their end, or of now."""
    kept = TemporaryFile()  # noqa: SIM115 - it lives until the pull is over
    text = io.TextIOWrapper(kept, encoding="utf-8", errors="backslashreplace", newline="")
    write_csv(gather(tasks), text)
    text.flush()
    text.detach()
    size = kept.tell()
    kept.seek(0)
    digest = hashlib.file_digest(kept, "sha256").hexdigest()
    entry = FileEntry(
        path=INDEX,
        kind="file",
        mtime_ns=int(ended_at.timestamp() * 1e9) if ended_at else time.time_ns(),
        size_bytes=size,
        digest=f"sha256:{digest}",
        area=AREA,
    )
    return IndexFile(entry=entry, file=kept)


def only(entries: Iterable[FileEntry], indices: str) -> list[FileEntry]:
    """What these tasks wrote."""
    found = ((entry, task_of(entry)) for entry in entries)
    return [entry for entry, index in found if index is not None and among(indices, index)]


def task_of(entry: FileEntry) -> int | None:
    """The index of the task that wrote it."""
    path = base64.b64decode(entry.path_b64) if entry.path_b64 else os.fsencode(entry.path)
    first = path.partition(b"/")[0]
    return int(first) if entry.area == AREA and first.isdigit() else None


def _is_index(wanted: Mapping[str, Any]) -> bool:
    return wanted.get("path") == INDEX and wanted.get("area") == AREA
