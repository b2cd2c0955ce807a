"""Results on their way home: many files read in one go, so that twenty thousand small ones are quick."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread
from msgspec import Struct

from ..files.collect import open_result
from ..model.caller import Caller
from ..model.errors import NotFound, ShorepowerError
from ..model.results import ResultsState
from ..store.contract import Snapshot, Store
from .access import find

__all__ = ["Fetch", "FileAsked", "FilePiece"]

_BATCH_BYTES = 1 << 20
_BATCH_FILES = 500
_WORKERS = 4


class FileAsked(Struct, frozen=True, kw_only=True):
    """One listed file, from an offset on."""

    path: bytes
    area: str = "project"
    offset: int = 0


class FilePiece(Struct, frozen=True, kw_only=True):
    """Some bytes of the file with this number among those that were asked for."""

    number: int
    offset: int
    data: bytes = b""
    eof: bool = False
    """The file ends with this piece."""
    error: str = ""
    """Why nothing (more) of it comes."""


class Fetch:
    """Reads what lies in the working folders of jobs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._disk = CapacityLimiter(_WORKERS)

    async def read(
        self, name: str, asked: Sequence[FileAsked], caller: Caller
    ) -> AsyncGenerator[list[FilePiece], None]:
        """See `Dispatcher.read_files`."""
        work = await self._store.read(partial(_work_of, name=name, caller=caller))
        number, offset = 0, asked[0].offset if asked else 0
        while number < len(asked):
            batch = partial(_read_batch, work, asked, number, offset)
            pieces = await to_thread.run_sync(batch, limiter=self._disk)
            yield pieces
            last = pieces[-1]
            if last.eof or last.error:
                number = last.number + 1
                offset = asked[number].offset if number < len(asked) else 0
            else:
                number, offset = last.number, last.offset + len(last.data)


def _work_of(view: Snapshot, *, name: str, caller: Caller) -> Path | NotFound:
    """The newest working folder of a job, or why there is none. Raises NotFound for no such job."""
    job = find(view, name, caller)
    laid_out = [one.workdir for one in view.submissions(job.id) if one.workdir]
    if job.results.state is ResultsState.EXPIRED or not laid_out:
        return NotFound(f"the results of {job.id} do not lie here (any more)")
    return Path(laid_out[-1])


def _read_batch(
    work: Path | NotFound, asked: Sequence[FileAsked], number: int, offset: int
) -> list[FilePiece]:
    """The next pieces, together about as large as one piece may be; at least one. Blocking."""
    pieces: list[FilePiece] = []
    room = _BATCH_BYTES
    while number < len(asked) and room > 0 and len(pieces) < _BATCH_FILES:
        piece = _read_piece(work, asked[number], number, offset, room)
        pieces.append(piece)
        room -= len(piece.data)
        if not (piece.eof or piece.error):
            break
        number += 1
        offset = asked[number].offset if number < len(asked) else 0
    return pieces


def _read_piece(work: Path | NotFound, file: FileAsked, number: int, offset: int, most: int) -> FilePiece:
    try:
        if isinstance(work, NotFound):
            raise work
        fd = open_result(work, file.path, file.area)
        try:
            data = os.pread(fd, most, offset)
            eof = offset + len(data) >= os.fstat(fd).st_size or not data
        finally:
            os.close(fd)
    except ShorepowerError as error:
        return FilePiece(number=number, offset=offset, error=str(error))
    except OSError as error:
        return FilePiece(number=number, offset=offset, error=error.strerror or "cannot be read")
    return FilePiece(number=number, offset=offset, data=data, eof=eof)
