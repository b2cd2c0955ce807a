"""What became of a call: read from its job's records, by whoever asks, from any process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ...model.errors import InvalidRequest, Unreachable
from ...model.results import ResultsState
from ...wire.http.frames import FrameReader
from .errors import NoValue, RemoteError
from .payload import VERSION
from .requests import read_values
from .values import Record, RecordReader

if TYPE_CHECKING:
    from ...model.job import Job
    from ..client import Client

__all__ = ["CallWarning", "Outcome", "ValueFollower", "error_of", "loaded", "read_outcome", "warning_of"]

WAIT_S = 30.0
"""One long poll."""
PATIENCE_S = 600.0
"""How long a server that went away is waited for."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0


class CallWarning(Struct, frozen=True):
    """A warning that a call gave."""

    category: str
    message: str
    file: str
    line: int


class Outcome(Struct, frozen=True):
    """A value, or the exception to raise."""

    value: Any = None
    error: BaseException | None = None

    def get(self) -> Any:
        """The value. Raises what the call raised."""
        if self.error is not None:
            raise self.error
        return self.value


class ValueFollower:
    """Follows the values of one job over any cut: (task, record) as they come, until its end."""

    def __init__(self, client: Client, job: str) -> None:
        self._client, self._job = client, job
        self._readers: dict[int, RecordReader] = {}
        self._ready: deque[tuple[int, Record]] = deque()
        self._ended = False

    @property
    def ended(self) -> bool:
        """The job has ended, and everything was handed out."""
        return self._ended and not self._ready

    def poll(self, wait_s: float = 0.0) -> None:
        """One long poll. Raises Unreachable; going on is possible then."""
        if self._ended:
            return
        offsets = {task: reader.offset for task, reader in self._readers.items()}
        frames = FrameReader()
        with self._client.transport.open(read_values(self._job, offsets, wait_s)) as incoming:
            for data in incoming.pieces():
                for head, body in frames.feed(data):
                    self._take(head, body)

    def ready(self) -> Iterator[tuple[int, Record]]:
        """What has come already."""
        while self._ready:
            yield self._ready.popleft()

    def next(self, deadline: float | None = None) -> tuple[int, Record] | None:
        """The next one; None at the end. Raises TimeoutError past a deadline of `time.monotonic`, and
        Unreachable when patience ends."""
        heard, pause = time.monotonic(), FIRST_PAUSE_S
        while not self._ready and not self._ended:
            wait_s = WAIT_S if deadline is None else min(WAIT_S, deadline - time.monotonic())
            if wait_s <= 0:
                raise TimeoutError(f"job {self._job} has not ended")
            try:
                self.poll(wait_s)
                heard, pause = time.monotonic(), FIRST_PAUSE_S
            except Unreachable as error:
                if time.monotonic() - heard > PATIENCE_S:
                    raise
                if pause > 1.0:
                    self._client.say(f"{error}; trying again")
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
        return self._ready.popleft() if self._ready else None

    def _take(self, head: Mapping[str, Any], body: bytes) -> None:
        if head.get("kind") == "end":
            self._ended = True
        if head.get("kind") != "value":
            return
        task = head.get("task", 0)
        reader = self._readers.setdefault(task, RecordReader())
        self._ready.extend((task, record) for record in reader.feed(body, head.get("offset", 0)))


def read_outcome(
    client: Client, job: str, timeout_s: float | None = None
) -> tuple[Outcome, list[CallWarning]]:
    """Wait for a call's value or exception. Raises TimeoutError (the job goes on), InvalidRequest for a
    map."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    told: list[CallWarning] = []
    follower = ValueFollower(client, job)
    while (found := follower.next(deadline)) is not None:
        record = found[1]
        if record.of == "map":
            raise InvalidRequest(f"{job} is a map: client.map_job({job!r}) reads its values")
        if record.kind == "warning":
            told.append(warning_of(record))
        elif record.kind in ("value", "error"):
            return loaded(record), told
    return Outcome(error=_lost(client.wait(job, results=False))), told


def warning_of(record: Record) -> CallWarning:
    """What a record of a warning says."""
    told = record.told()
    return CallWarning(
        str(told.get("type", "")),
        str(told.get("message", "")),
        str(told.get("file", "")),
        int(told.get("line", 0)),
    )


def loaded(record: Record) -> Outcome:
    """The outcome that a record of a value or of an error holds."""
    if record.kind == "error":
        return Outcome(error=error_of(record))
    try:
        return Outcome(value=record.unpickle())
    except Exception as error:
        return Outcome(error=_foreign(record, error))


def _foreign(record: Record, error: Exception) -> BaseException:
    wrote = record.runtime.rpartition("/")[2]
    if wrote and wrote != VERSION:
        told = f"the value was pickled by Python {wrote} and cannot be loaded by Python {VERSION}: {error}"
    else:
        told = f"the value cannot be loaded here: {type(error).__name__}: {error}"
    made = RemoteError(told, type_name=type(error).__qualname__)
    made.__cause__ = error
    return made


def error_of(record: Record) -> BaseException:
    """The remote exception, with its traceback over there as its cause; a RemoteError where the exception
    itself cannot come here."""
    told = record.told()
    kind, message, why = (str(told.get(key, "")) for key in ("type", "message", "why"))
    text = str(told.get("traceback", ""))
    if why or "exit" in told:
        ended = (
            f"the function ended its process: sys.exit({message})"
            if "exit" in told
            else f"{why}: {message}"
        )
        return RemoteError(ended, type_name=kind, traceback=text)
    try:
        error = record.unpickle()
    except Exception:
        error = None
    if not isinstance(error, Exception):
        return RemoteError(f"{kind}: {message}", type_name=kind, traceback=text)
    error.__cause__ = RemoteError("raised in the job", type_name=kind, traceback=text)
    return error


def _lost(job: Job) -> BaseException:
    if job.results.state is ResultsState.EXPIRED:
        return NoValue(job, "its value is not kept any more")
    if job.state.value == "COMPLETED":
        return NoValue(job, "it ended without a value: no function was called, or it ended its own process")
    return NoValue(job)
