"""The client: what a program, or the command line, may ask of a server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..model.errors import Unreachable
from . import requests
from .link import link
from .requests import Call, FileList, JobPage, JobQuery, Look, NewToken, ServerInfo, TokenInfo
from .settings import Settings, load_settings
from .stream import OutputReader

if TYPE_CHECKING:
    from ..model.caller import Caller
    from ..model.cluster import ClusterInfo
    from ..model.events import Event
    from ..model.job import Job, JobSpec
    from ..model.lifecycle import Attempt, Operation
    from ..model.results import ExpiringResults
    from ..model.task import Task
    from ..wire.http.bodies import PruneAnswer
    from .handle import JobHandle
    from .python.calls import Calls
    from .python.futures import CallFuture
    from .python.mapjob import MapJob
    from .seen import Seen
    from .transport import Transport

__all__ = ["Client"]

T = TypeVar("T")

WAIT_S = 30.0
"""One long poll."""
FOLLOW_PATIENCE_S = 600.0
"""How long a server that went away is waited for while a job is waited for."""


class Client:
    """One server, thin and synchronous. Safe to use from several threads; close it, or use ``with``.

    ``server`` is the name of a login, an address, or None for the one that `shore` itself would use; a
    private server is started when it is needed (``start``). ``say`` hears short sentences meant for a
    person, as `starting your server`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        settings: Settings | None = None,
        environ: Mapping[str, str] = os.environ,
        say: Callable[[str], None] | None = None,
        start: bool = True,
    ) -> None:
        self.environ = environ
        self.settings = settings or load_settings(environ)
        self.say = say or (lambda _: None)
        self.transport: Transport = link(self.settings, server, environ=environ, say=self.say, start=start)
        self._calls: Calls | None = None

    @property
    def seen(self) -> Seen:
        """What this client remembers of the server's jobs."""
        from .seen import Seen

        return Seen(self.settings.places.client_dir, self.transport.address.label)

    def close(self) -> None:
        """Close connections; jobs are not touched. Twice is harmless."""
        self.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # in words of the user

    def submit(self, *command: str | Path, **options: Any) -> JobHandle:
        """Send a script with its arguments, or a command, and return at once.

        ``client.submit("train.R", "--fold", "3", cpus=4, memory="8G")``; a first word that is no file
        of a known kind needs ``command=True``. Options are the fields of `Options`. Raises
        InvalidRequest with every fault.
        """
        from .deliver import send
        from .handle import JobHandle

        return JobHandle(self, send(self, command, options))

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> JobHandle:
        """Submit, wait, bring the results home. Raises JobFailed unless ``check`` is False."""
        handle = self.submit(*command, **options)
        handle.wait(check=False)
        handle.pull()
        if check:
            handle.check()
        return handle

    # functions

    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """The value of ``function(*args, **kwargs)``, from a job. Raises what it raises.

        All arguments are the function's; options of the job are said before:
        ``client.with_options(cpus=4, memory="8G").call(fit, data)``.
        """
        return self.with_options().call(function, *args, **kwargs)

    def spawn(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """Start a call and return at once; ``.result()`` of what it returns is the value."""
        return self.with_options().spawn(function, *args, **kwargs)

    def map(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], chunksize: int | None = None
    ) -> MapJob:
        """Call a function for each item, as one job of many tasks; iterate over what it returns for the
        values in order. ``chunksize`` is how many items a task runs; None leaves it to us."""
        return self.with_options().map(function, *iterables, chunksize=chunksize)

    def with_options(self, **options: Any) -> Calls:
        """``call``, ``spawn`` and ``map`` with cpus, memory, time, gpus, on, queue, name, env, env_files,
        secrets, tags, within_s; ``python`` is the interpreter. Raises InvalidRequest."""
        from .python.calls import Calls

        if options:
            return Calls(self, options)
        if self._calls is None:
            self._calls = Calls(self, {})
        return self._calls

    def future(self, name: str) -> CallFuture:
        """The `concurrent.futures.Future` of a call, whatever process started it. Raises NotFound."""
        from .python.executor import future_of

        return future_of(self, name)

    def map_job(self, name: str) -> MapJob:
        """A map, whatever process started it. Raises NotFound, InvalidRequest."""
        from .python.mapjob import open_map

        return open_map(self, name)

    def handle(self, name: str) -> JobHandle:
        """The handle of a job by id, unique prefix, ``@name`` or ``@-1``. Raises NotFound."""
        from .handle import JobHandle

        return JobHandle(self, self.job(name))

    # jobs

    def submit_spec(self, spec: JobSpec, *, key: str | None = None, secrets: Mapping[str, str] = {}) -> Job:
        """Record a job that is fully described. The same key gives the same job."""
        return self._ask(requests.submit(spec, key or new_key(), secrets))

    def job(self, name: str, *, revision: int | None = None, wait_s: float = 0.0) -> Job:
        """How a job stands; with ``revision`` as soon as it is newer, or after ``wait_s``."""
        return self._ask(requests.job(name, revision=revision, wait_s=wait_s))

    def wait(
        self,
        name: str,
        *,
        timeout_s: float | None = None,
        results: bool = True,
        known: Job | None = None,
    ) -> Job:
        """The job once it has ended and (``results``) what it wrote is collected; ``known`` is how it stood
        when it was last asked for. Raises TimeoutError; the job goes on."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        job = known or self.job(name)
        while not (job.state.ended and not (results and job.results.state.value == "saving")):
            wait_s = WAIT_S
            if deadline is not None:
                wait_s = min(wait_s, deadline - time.monotonic())
                if wait_s <= 0:
                    raise TimeoutError(f"{job.name} ({job.id}) is still {job.state.value.lower()}")
            job = self.patiently(requests.job(job.id, revision=job.revision, wait_s=wait_s))
        return job

    def jobs(self, wanted: JobQuery | None = None) -> JobPage:
        """One page of jobs, newest first."""
        return self._ask(requests.jobs(wanted or JobQuery()))

    def spec(self, name: str) -> JobSpec:
        """What was submitted."""
        return self._ask(requests.spec(name))

    def attempts(self, name: str) -> list[Attempt]:
        """Every attempt so far."""
        return self._ask(requests.attempts(name))

    def named(self, text: str) -> tuple[Job, str | None]:
        """The job, and the indices of its tasks that are meant: ``ID`` (None), ``ID_7``, ``ID_3-5,9``."""
        if "_" not in text:
            return self.job(text), None
        from .tasks import find

        return find(self, text)

    def tasks(
        self,
        name: str,
        *,
        states: Sequence[str] = (),
        indices: str | None = None,
        sort: str | None = None,
        most: int | None = None,
    ) -> Iterator[Task]:
        """The tasks of an array by index, or sorted by a column, parameter or metric (``"-auc"``: the
        highest first); those of ``indices`` (``"3-5,9"``) and in these states only."""
        from .tasks import TaskQuery, each

        return each(self, name, TaskQuery(states=tuple(states), indices=indices, sort=sort), most)

    def control(self, name: str, operation: Operation, *, indices: str | None = None) -> Job:
        """Stop, kill, suspend or resume; recorded when this returns, carried out soon. ``indices``: stop or
        kill only these tasks of an array."""
        if indices is None:
            return self._ask(requests.control(name, operation))
        from .tasks import control

        return self._ask(control(name, operation, indices))

    def keep(self, name: str, until: datetime | None) -> Job:
        """Move the moment when results expire; None keeps them for good."""
        return self._ask(requests.keep(name, until))

    def output(
        self,
        name: str,
        *,
        cursor: str | None = None,
        follow: bool = True,
        tail_bytes: int | None = None,
        task: int | None = None,
    ) -> OutputReader:
        """Iterate over the output of a job, or of one task of it; see `OutputReader`."""
        return OutputReader(
            self.transport,
            name,
            cursor=cursor,
            follow=follow,
            tail_bytes=tail_bytes,
            task=task,
            notice=self.say,
        )

    def events(self, *, after: int | None = None, job: str | None = None) -> Iterator[Event]:
        """News as it comes, without end; None: from now on."""
        while True:
            page = self.patiently(requests.events(after=after, job=job, wait_s=WAIT_S))
            after = page.next
            yield from page.events

    # the rest

    def clusters(self) -> list[ClusterInfo]:
        """What is known of each cluster."""
        return self._ask(requests.clusters())

    def look(self, paths: Sequence[str]) -> dict[str, Look]:
        """What these paths are where the jobs run; one that did not answer is left out."""
        return self._ask(requests.look(paths)) if paths else {}

    def server(self) -> ServerInfo:
        """Who answers."""
        return self._ask(requests.server())

    def whoami(self) -> Caller:
        """Whom the server takes this caller for."""
        return self._ask(requests.whoami())

    def footprint(self) -> requests.Footprint:
        """What the server keeps on disk."""
        return self._ask(requests.footprint())

    def prune(
        self, *, results: bool = False, unfetched: bool = False, ended_before: datetime | None = None
    ) -> PruneAnswer:
        """Remove what is expired and what nothing needs; ``results`` that were fetched and ``unfetched``
        ones too when asked for, those of jobs that ended before a moment."""
        call = requests.prune(results=results, unfetched=unfetched, ended_before=ended_before)
        return self._ask(call)

    def expiring(self) -> ExpiringResults:
        """Results that nobody fetched and that go soon."""
        return self._ask(requests.expiring())

    def warned(self, as_of: datetime) -> None:
        """Say that a person has seen what `expiring` told: from now on it may go, in three days."""
        self._ask(requests.warned(as_of))

    def files(self, name: str) -> FileList:
        """What came out of a job so far."""
        return self._ask(requests.files(name))

    def read_files(
        self, name: str, entries: Sequence[Mapping[str, Any]]
    ) -> Iterable[tuple[Mapping[str, Any], bytes]]:
        """Content of listed files, piece by piece: (header, bytes). Raises Unreachable at a cut."""
        from ..wire.http.frames import FrameReader

        reader = FrameReader()
        with self.transport.open(requests.read_files(name, entries)) as incoming:
            for data in incoming.pieces():
                yield from reader.feed(data)

    def mark_pulled(self, name: str) -> None:
        """Say that everything listed is home."""
        self._ask(requests.pulled(name))

    def missing_blobs(self, digests: Sequence[str]) -> list[str]:
        """Which of these must be sent."""
        return self._ask(requests.missing_blobs(digests))

    def put_blobs(self, body: bytes, encoding: str | None = None) -> None:
        """Send framed blobs."""
        self._ask(requests.put_blobs(body, encoding))

    def blob(self, digest: str) -> bytes:
        """A blob that this caller has sent."""
        return self._ask(requests.blob(digest))

    def tokens(self) -> list[TokenInfo]:
        """The caller's own."""
        return self._ask(requests.tokens())

    def create_token(self, name: str, scope: str, expires_at: datetime | None = None) -> NewToken:
        """A new one; its secret is told this once."""
        return self._ask(requests.create_token(name, scope, expires_at))

    def revoke_token(self, token: str) -> None:
        """By id, at once."""
        self._ask(requests.revoke_token(token))

    def patiently(self, call: Call[T]) -> T:
        """A repeatable call, over a server that is away for longer than a restart takes."""
        began = time.monotonic()
        while True:
            try:
                return self._ask(call)
            except Unreachable as error:
                if time.monotonic() - began > FOLLOW_PATIENCE_S:
                    raise
                self.say(f"{error}; trying again")
                time.sleep(1.0)

    def _ask(self, call: Call[T]) -> T:
        return self.transport.call(call)


def new_key() -> str:
    """An idempotency key that nobody else has."""
    return os.urandom(16).hex()
