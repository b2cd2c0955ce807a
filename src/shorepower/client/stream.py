"""A job's output as it comes, over any cut: by cursor, without a byte twice or one missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..model.errors import Unreachable
from ..model.output import OutputPiece, Stream
from ..wire.http.frames import FrameReader
from . import requests
from .transport import Incoming, Transport

__all__ = ["OutputReader", "piece_of"]

FOLLOW_PATIENCE_S = 600.0
"""How long a server that went away is waited for while following."""
LONG_POLL_S = 25.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0


class OutputReader:
    """Iterate over it for `OutputPiece`; the last is of kind ``end`` once the job (or the one ``task`` of
    it, by its index) has ended and all is read. Without ``follow`` it ends with what is there now."""

    def __init__(
        self,
        transport: Transport,
        job: str,
        *,
        cursor: str | None = None,
        follow: bool = True,
        tail_bytes: int | None = None,
        task: int | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        self.cursor = cursor
        """Where to go on after the last piece that was handed out."""
        self._transport, self._job = transport, job
        self._follow, self._tail, self._task = follow, tail_bytes, task
        self._notice = notice or (lambda _: None)
        self._polls = False
        """A stream came to nothing: a proxy buffers it, so ask again and again instead."""
        self._incoming: Incoming | None = None
        self._aborted = False

    def abort(self) -> None:
        """End the iteration from another thread, at once."""
        self._aborted = True
        if self._incoming is not None:
            self._incoming.abort()

    def __iter__(self) -> Iterator[OutputPiece]:
        last_good = time.monotonic()
        pause = FIRST_PAUSE_S
        while not self._aborted:
            more = False
            try:
                for piece in self._once():
                    last_good, pause = time.monotonic(), FIRST_PAUSE_S
                    if piece is None:
                        continue
                    self.cursor = piece.cursor or self.cursor
                    if piece.kind == "more":
                        continue
                    more = True
                    yield piece
                    if piece.kind == "end":
                        return
                if not self._follow and not more:
                    return
            except Unreachable as error:
                if self._aborted:
                    return
                if time.monotonic() - last_good > FOLLOW_PATIENCE_S:
                    raise
                if pause > 1.0:
                    self._notice(f"{error}; trying again")
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    def _once(self) -> Iterator[OutputPiece | None]:
        """One request's worth of pieces; None stands for any other sign of life."""
        stream = self._follow and not self._polls
        wait_s = LONG_POLL_S if self._follow and self._polls else 0.0
        request = requests.output(
            self._job,
            cursor=self.cursor,
            follow=stream,
            wait_s=wait_s,
            tail_bytes=self._tail,
            task=self._task,
        )
        reader = FrameReader()
        heard = False
        with self._transport.open(request) as incoming:
            self._incoming = incoming
            try:
                for data in incoming.pieces():
                    for header, body in reader.feed(data):
                        heard = True
                        yield piece_of(header, body)
            except Unreachable:
                self._polls = self._polls or not heard
                raise
            finally:
                self._incoming = None
        if stream and not heard:
            self._polls = True


def piece_of(header: Mapping[str, Any], body: bytes) -> OutputPiece | None:
    """What a frame says; None for a mere sign of life, or for a kind that a later version added."""
    kind = header.get("kind")
    if kind == "more":
        return OutputPiece(kind="more", cursor=header.get("cursor", ""))
    if kind not in ("output", "gap", "end"):
        return None
    return OutputPiece(
        kind=kind,
        stream=Stream(header.get("stream", Stream.STDOUT)),
        task=header.get("task", 0),
        attempt=header.get("attempt", 1),
        offset=header.get("offset", 0),
        data=body,
        missing_bytes=header.get("missing_bytes", 0),
        cursor=header.get("cursor", ""),
    )
