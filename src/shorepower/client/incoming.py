"""Files on their way home: fetched in batches, kept in parts, checked when whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..model.errors import InvalidRequest
from ..model.results import FileEntry
from .errors import Cut
from .landing import InTheWay, Landing

__all__ = ["Fetch", "Incoming", "Receiving"]

Fetch = Callable[[Sequence[Mapping[str, Any]]], Iterable[tuple[Mapping[str, Any], bytes]]]
"""One ``files:read``: the ``entries`` of its body → (header, bytes) of each frame."""

_BATCH_FILES = 200
_BATCH_BYTES = 64 << 20
_ROUNDS_WITHOUT_PROGRESS = 3
_KEEP_PART_BYTES = 1 << 20
"""A smaller part is not worth keeping when a pull breaks off."""
_PIECE_BYTES = 1 << 20


class Incoming:
    """One file while it arrives in ``part``, a file of ours beside its place."""

    def __init__(self, landing: Landing, entry: FileEntry, part: str) -> None:
        self._landing, self.entry, self._part = landing, entry, part
        self._hash = hashlib.sha256()
        self._fd = -1
        self._begun = False
        self.offset = 0
        self.error: str | OSError = ""
        """Why it does not come, if it does not."""

    @property
    def part(self) -> str:
        """Where it is until it is whole, relative to the landing."""
        return self._part

    @property
    def digest(self) -> str:
        """Of what has arrived."""
        return f"sha256:{self._hash.hexdigest()}"

    @property
    def whole(self) -> bool:
        """Everything that was listed has arrived; of a running job only the end of a file tells that."""
        return bool(self.entry.digest) and self.offset == self.entry.size_bytes

    def open(self) -> None:
        """Make the part, or go on with what is there. Raises OSError, InTheWay."""
        if self._fd >= 0:
            return
        if self._begun:
            self._fd = self._landing.new_file(self._part, resume=True)
            os.lseek(self._fd, self.offset, os.SEEK_SET)
            return
        self._begun = True
        self._fd = self._landing.new_file(self._part, resume=bool(self.entry.digest))
        if os.fstat(self._fd).st_size > self.entry.size_bytes:
            os.ftruncate(self._fd, 0)
        while piece := os.read(self._fd, _PIECE_BYTES):
            self._hash.update(piece)
            self.offset += len(piece)

    def take(self, offset: int, data: bytes) -> None:
        """Add what arrived. Raises OSError, and InvalidRequest when it does not go on where this stands."""
        self.open()
        if offset != self.offset:
            raise InvalidRequest(f"the server sent bytes from {offset} where {self.offset} was next")
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._hash.update(data)
        self.offset += len(data)

    def sync(self) -> None:
        """It is on disk when this returns."""
        self.open()
        os.fsync(self._fd)

    def close(self) -> None:
        """Let go of the descriptor; what arrived stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def start_over(self) -> None:
        """Forget what arrived."""
        self.close()
        self._landing.remove(self._part)
        self._hash, self.offset, self._begun = hashlib.sha256(), 0, False

    def give_up(self) -> None:
        """The pull breaks off here; what is worth it stays for the next one."""
        with suppress(OSError, InTheWay):
            self.close()
            if self._begun and (self.offset < _KEEP_PART_BYTES or not self.entry.digest):
                self._landing.remove(self._part)


class Receiving:
    """Fetches files one batch after the other."""

    def __init__(self, fetch: Fetch, heard: Callable[[int], None]) -> None:
        self._fetch, self._heard = fetch, heard

    def each(self, files: Sequence[Incoming]) -> Iterator[Incoming]:
        """Every file once it has arrived, or with ``error`` set; goes on where a connection was cut.

        Raises what ``fetch`` raises, Cut when nothing moves between cuts.
        """
        waiting, rounds = list(files), 0
        while waiting:
            batch = _batch(waiting)
            before = sum(file.offset for file in batch)
            done: set[Incoming] = set()
            cut: Cut | None = None
            try:
                for file in self._round(batch):
                    done.add(file)
                    yield file
            except Cut as error:
                cut = error
            moved = done or sum(file.offset for file in batch) > before
            rounds = 0 if moved else rounds + 1
            if rounds >= _ROUNDS_WITHOUT_PROGRESS:
                if cut is not None:
                    raise cut
                for file in batch:
                    file.error = "the server sends nothing of it"
                    done.add(file)
                    yield file
            waiting = [file for file in waiting if file not in done]

    def _round(self, batch: Sequence[Incoming]) -> Iterator[Incoming]:
        asked: dict[tuple[str, str, str], Incoming] = {}
        for file in batch:
            begun = file.offset
            try:
                file.open()
            except (OSError, InTheWay) as error:
                file.error = error if isinstance(error, OSError) else "a link or a file is in the way"
            finally:
                file.close()
            self._heard(file.offset - begun)
            if file.error or file.whole:
                yield file
            else:
                asked[_key(_wanted(file))] = file
        if not asked:
            return
        for header, data in self._fetch([_wanted(file) for file in asked.values()]):
            file = asked.get(_key(header))
            if file is None:
                continue  # nothing that was asked for, or not any more
            self._add(file, header, data)
            if file.error or header.get("eof"):
                del asked[_key(header)]
                file.close()
                yield file

    def _add(self, file: Incoming, header: Mapping[str, Any], data: bytes) -> None:
        if error := header.get("error"):
            file.error = str(error)
            return
        try:
            file.take(int(header.get("offset", file.offset)), data)
            self._heard(len(data))
        except OSError as error:
            file.error = error


def _batch(waiting: Sequence[Incoming]) -> list[Incoming]:
    batch: list[Incoming] = []
    size = 0
    for file in waiting[:_BATCH_FILES]:
        size += file.entry.size_bytes - file.offset
        if batch and size > _BATCH_BYTES:
            break
        batch.append(file)
    return batch


def _wanted(file: Incoming) -> dict[str, Any]:
    entry = file.entry
    name = {"path_b64": entry.path_b64} if entry.path_b64 else {"path": entry.path}
    return {**name, "area": entry.area, "offset": file.offset}


def _key(header: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(header.get("path", "")), str(header.get("path_b64", "")), str(header.get("area", "project"))
