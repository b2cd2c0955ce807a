"""What tasks wrote comes home: a folder a task, and ``index.csv`` that tells them apart."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any, BinaryIO

from msgspec import Struct

from ..model.array import parse_indices
from ..model.results import FileEntry
from ..model.task import Task
from .incoming import Fetch
from .placing import raw_path
from .task_table import gather, write_csv

__all__ = ["AREA", "INDEX", "IndexFile", "index_file", "only", "task_path"]

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
    ranges, _ = parse_indices(indices)
    found = []
    for entry in entries:
        index, _ = task_path(entry)
        if index is not None and any(
            one.first <= index <= one.last and not (index - one.first) % one.step for one in ranges
        ):
            found.append(entry)
    return found


def task_path(entry: FileEntry) -> tuple[int | None, bytes]:
    """(the task that wrote it, the path in that task's folder). Raises InvalidRequest."""
    path = raw_path(entry)
    first, _, rest = path.partition(b"/")
    if entry.area != AREA or not first.isdigit():
        return None, path
    return int(first), rest or os.fsencode(".")


def _is_index(wanted: Mapping[str, Any]) -> bool:
    return wanted.get("path") == INDEX and wanted.get("area") == AREA
