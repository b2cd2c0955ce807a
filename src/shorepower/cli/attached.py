"""Following one job to its end: its output byte for byte, our lines beside it, Ctrl-C as agreed.

Two threads listen (output, how the job stands) and put what they hear into one queue; signals are put
there too. So the main thread sees everything in one order and is never torn out of a write.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from ..client import requests
from ..client.seen import Followed
from ..model.errors import Conflict, ShorepowerError
from ..model.job import Job
from ..model.lifecycle import Operation, State
from ..model.output import OutputPiece, Stream
from .live import LiveLine
from .question import Answer, ask
from .render import json
from .render.figures import elapsed_s, format_bytes, short_id
from .render.quiet import live_line, running_line, waiting_line
from .voice import ENDING, say

if TYPE_CHECKING:
    from ..client.client import Client
    from .prefix import Prefixes

__all__ = ["Attached", "View"]

PIECES_WAITING = 32
"""Of at most 1 MiB each, read ahead of a slow terminal."""
TICK_S = 0.5
WATCH_S, WATCH_LIVE_S = 25.0, 1.0
"""How long to wait for news of the job; the second where its progress is told, no news by itself."""
FIRST_NEWS_S = 0.7
"""A job that still waits after this long is said to be queued."""
TAIL_BYTES = 64 << 10
COUNTS_EVERY_S = 1.0
"""How often lines of JSON tell how many tasks of an array are done."""


class View(Struct, frozen=True, kw_only=True):
    """How to show a job that is followed."""

    runtime: str = ""
    """``Rscript 4.2.2 (PATH)``, for the line that says it runs."""
    on_interrupt: str = "ask"
    as_json: bool = False
    lines: bool = True
    """Say that it is queued and that it runs."""
    cursor: str | None = None
    tail_bytes: int | None = None
    stream: str | None = None
    """Only this one of the two streams."""


class _Interrupt(Struct, frozen=True):
    number: int


class Attached:
    """One job, followed by the main thread."""

    def __init__(self, client: Client, job: Job, view: View) -> None:
        self.client, self.job, self.view = client, job, view
        self.tail = bytearray()
        """The last of what it wrote, for hints when it failed."""
        self.unwritten = ""
        """Why not all of its output could be passed on, when somebody still wants it."""
        self._queue: queue.SimpleQueue[OutputPiece | Job | _Interrupt | Exception] = queue.SimpleQueue()
        self._room = threading.Semaphore(PIECES_WAITING)
        self._reader = client.output(job.id, cursor=view.cursor, tail_bytes=view.tail_bytes)
        self._over = threading.Event()
        self._line = LiveLine()
        self._lines = json.OutputLines(job.id) if view.as_json else None
        self._prefixes = _prefixes(job) if not view.as_json else None
        self._remembered = None if view.cursor or view.tail_bytes else _followed(client, job)
        self._said_waiting = self._said_running = not view.lines
        self._at_line_start = True
        self._closed: set[int] = set()
        self._began = time.monotonic()
        self._asking = False
        self._next_counts = 0.0

    def follow(self, meanwhile: Callable[[], object] | None = None) -> Job | None:
        """Until all output is written and the job has ended; None when it was left running.

        ``meanwhile`` is done once, while the job begins; it must not wait for anything. Raises what the
        listening threads met.
        """
        for listen in (self._listen_output, self._listen_job):
            threading.Thread(target=listen, daemon=True).start()
        with self._signals(), self._line:
            try:
                if meanwhile is not None:
                    meanwhile()
                ended = self._loop()
            finally:
                self._over.set()
                self._reader.abort()
        if not ended:
            return None
        if not self.job.state.ended:
            self.job = self.client.wait(self.job.id, results=False, known=self.job)
        self._say_running(self.job)
        return self.job

    # the threads

    def _listen_output(self) -> None:
        try:
            for piece in self._reader:
                self._room.acquire()
                self._queue.put(piece)
        except Exception as error:
            self._queue.put(error)

    def _listen_job(self) -> None:
        job = self.job
        wait_s = WATCH_LIVE_S if self._line.on or self._lines is not None else WATCH_S
        try:
            while not self._over.is_set() and not job.state.ended:
                job = self.client.patiently(requests.job(job.id, revision=job.revision, wait_s=wait_s))
                self._queue.put(job)
        except Exception as error:
            self._queue.put(error)

    # the main thread

    def _loop(self) -> bool:
        """True when the output has come to its end, False when the job is left."""
        while True:
            try:
                heard = self._queue.get(timeout=TICK_S)
            except queue.Empty:
                self._tick()
                continue
            if isinstance(heard, OutputPiece):
                self._room.release()
                if heard.kind == "end":
                    self._end_of_output(heard)
                    return True
                self._write(heard)
            elif isinstance(heard, Job):
                self._news(heard)
            elif isinstance(heard, _Interrupt):
                if not self._interrupted(heard.number):
                    return False
            else:
                raise heard

    def _tick(self) -> None:
        if not self._said_waiting and time.monotonic() - self._began > FIRST_NEWS_S:
            self._said_waiting = True
            if self.job.state is State.PENDING:
                self._say(waiting_line(self.job))
        self._draw()

    def _news(self, job: Job) -> None:
        before, self.job = self.job, job
        if self._lines is not None:
            if job.progress is not None and job.progress != before.progress:
                json.progress_line(job.id, job.progress)
            moved = job.array and job.counts != before.counts and time.monotonic() > self._next_counts
            if (job.state is not before.state or moved) and not job.state.ended:
                self._next_counts = time.monotonic() + COUNTS_EVERY_S
                json.job_line(job)
        if job.state is not State.PENDING:
            self._say_running(job)
        elif self._said_waiting and job.why and job.why != before.why and self.view.lines:
            self._say(waiting_line(job))
        self._draw()

    def _say_running(self, job: Job) -> None:
        if job.started_at is not None:
            self._say_that_it_runs(job)

    def _say_that_it_runs(self, job: Job) -> None:
        if not self._said_running:
            self._said_running = self._said_waiting = True
            self._say(running_line(job, self.view.runtime, socket.gethostname()))

    def _write(self, piece: OutputPiece) -> None:
        if not self._said_running and self.job.started_at is None:
            self._first_words()
        if self._remembered is not None:
            self._remembered.add(piece)
        if self.view.stream not in (None, piece.stream.value):
            return
        was_shown = self._line.hide()
        if self._lines is not None:
            self._lines.print(piece)
            return
        if piece.kind == "gap":
            self._say(f"{format_bytes(piece.missing_bytes)} of {piece.stream.value} are no longer kept")
            return
        self.tail += piece.data[-TAIL_BYTES:]
        del self.tail[:-TAIL_BYTES]
        data = piece.data if self._prefixes is None else self._prefixes.feed(piece)
        self._put(1 if piece.stream is Stream.STDOUT else 2, data)
        if was_shown:
            self._draw(now=True)

    def _first_words(self) -> None:
        """Output overtook the news that the job runs. Of this machine nothing has to be asked for them."""
        if self.job.cluster == "local" and self.client.transport.address.socket:
            self._say_that_it_runs(self.job)
            return
        try:
            self._news(self.client.job(self.job.id))
        except ShorepowerError:
            pass  # the listening thread will say what is wrong

    def _put(self, descriptor: int, data: bytes) -> None:
        """Every byte, in one go or several; a reader who is gone costs the output, not the job."""
        if descriptor in self._closed or not data:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except BrokenPipeError:
            self._closed.add(descriptor)
            if descriptor == 1:
                say("nobody reads the output any more; waiting for the job's end")
        except OSError as error:
            self._closed.add(descriptor)
            name = "standard output" if descriptor == 1 else "standard error"
            self.unwritten = f"{name} could not be written: {(error.strerror or str(error)).lower()}"
            say(f"{self.unwritten}; all of it: shore logs {short_id(self.job.id)}")
        if os.isatty(descriptor):
            self._at_line_start = data.endswith(b"\n")

    def _end_of_output(self, piece: OutputPiece) -> None:
        self._line.hide()
        for stream, rest in self._prefixes.rest() if self._prefixes is not None else ():
            self._put(1 if stream is Stream.STDOUT else 2, rest)
        if self._lines is not None:
            self._lines.print(piece)
        elif not self._at_line_start:
            self._at_line_start = True
            self._put(2, b"\n")

    def _draw(self, *, now: bool = False) -> None:
        if not self._line.on or not self._at_line_start or self._lines is not None:
            return
        job = self.job
        if job.state in (State.RUNNING, State.SUSPENDED):
            seconds = elapsed_s(job.started_at, None, datetime.now(UTC)) or 0.0
            word = "suspended  " if job.state is State.SUSPENDED else ""
            self._line.show(f"{word}{live_line(job, seconds)}", now=now)
        elif job.state is State.PENDING and self._said_waiting:
            self._line.show(f"waiting  {job.why}")

    def _say(self, text: str) -> None:
        self._line.hide()
        if self._lines is not None:
            return
        if not self._at_line_start:
            self._put(2, b"\n")
        say(text)

    # being interrupted

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def heard(number: int, frame: object) -> None:
            if self._asking and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._queue.put(_Interrupt(number))

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, *ENDING)
        kept = {number: signal.signal(number, heard) for number in numbers}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def _interrupted(self, number: int) -> bool:
        """Whether to go on following."""
        self._line.hide()
        answer = Answer.LEAVE if number != signal.SIGINT else self._answer()
        if answer is Answer.STOP:
            return self._stop()
        return answer is Answer.WATCH or self._ended_meanwhile()

    def _answer(self) -> Answer:
        wanted = self.view.on_interrupt
        if self.job.wanted is not None or wanted == "leave":
            return Answer.LEAVE
        if wanted == "stop":
            return Answer.STOP
        self._asking = True
        try:
            return ask(f"{self.job.name} goes on. Enter leaves it running, s stops it, w watches on")
        except KeyboardInterrupt:
            return Answer.LEAVE
        finally:
            self._asking = False

    def _ended_meanwhile(self) -> bool:
        try:
            return self.client.job(self.job.id).state.ended
        except ShorepowerError:
            return False

    def _stop(self) -> bool:
        try:
            self.job = self.client.control(self.job.id, Operation.STOP)
            say(f"stopping {short_id(self.job.id)} ({self.job.name})")
        except Conflict:
            pass  # it ended meanwhile; its end is on the way
        return True


def _prefixes(job: Job) -> Prefixes | None:
    """Lines of many tasks are marked with their indices."""
    if not job.array:
        return None
    from .prefix import Prefixes

    return Prefixes()


def _followed(client: Client, job: Job) -> Followed:
    return Followed(client.settings.places.client_dir, job.id)
