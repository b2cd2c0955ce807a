"""A job in the hand of a program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..model.job import Job
from ..model.lifecycle import Operation, State
from ..model.output import OutputPiece
from ..model.results import FileEntry
from .errors import JobFailed

if TYPE_CHECKING:
    from ..model.task import Task
    from .client import Client
    from .pull import PullReport
    from .python.outcome import CallWarning, Outcome
    from .task_home import IndexFile

__all__ = ["JobHandle", "bring_home"]


class JobHandle:
    """One job; what it knows is from when it last asked."""

    def __init__(self, client: Client, job: Job) -> None:
        self.client, self.job = client, job
        self._known: Outcome | None = None
        self._warnings: list[CallWarning] = []

    def __repr__(self) -> str:
        return f"<job {self.job.id} {self.job.name!r} {self.job.state.value}>"

    def _ipython_display_(self) -> None:
        from .notebook.live import show

        show(self, self.client, self.id)

    @property
    def id(self) -> str:
        """Twelve characters."""
        return self.job.id

    @property
    def state(self) -> State:
        """As of the last time it was asked for."""
        return self.job.state

    def refresh(self) -> Job:
        """Ask how it stands now."""
        self.job = self.client.job(self.id)
        return self.job

    def wait(self, timeout_s: float | None = None, *, check: bool = True) -> Job:
        """Until it has ended and its results are collected. Raises TimeoutError, and JobFailed unless
        ``check`` is False."""
        self.job = self.client.wait(self.id, timeout_s=timeout_s)
        if check:
            self.check()
        return self.job

    def check(self) -> None:
        """Raises JobFailed when it ended as anything but COMPLETED."""
        if self.job.state.ended and self.job.state is not State.COMPLETED:
            raise JobFailed(self.job)

    def tasks(self, *states: State | str, sort: str | None = None) -> Iterator[Task]:
        """The tasks of an array, those in one of these states if any is named; see `Client.tasks`."""
        return self.client.tasks(self.id, states=[str(state) for state in states], sort=sort)

    def logs(self, *, follow: bool = False, task: int | None = None) -> str:
        """Everything it, or one task of it, wrote so far to both streams (with ``follow``: until its end),
        as text."""
        pieces = self.output(follow=follow, task=task)
        return b"".join(piece.data for piece in pieces).decode(errors="replace")

    def output(self, *, follow: bool = True, task: int | None = None) -> Iterable[OutputPiece]:
        """Its output piece by piece."""
        return self.client.output(self.id, follow=follow, task=task)

    def result(self, timeout_s: float | None = None) -> Any:
        """The value of a call, once it is there. Raises what the function raised, with the traceback of
        over there as its cause; NoValue when it came to none; TimeoutError, and the job goes on."""
        return self._outcome(timeout_s).get()

    def exception(self, timeout_s: float | None = None) -> BaseException | None:
        """What `result` would raise, once that is known; None for a value. Raises TimeoutError."""
        return self._outcome(timeout_s).error

    def warnings(self, timeout_s: float | None = None) -> list[CallWarning]:
        """The warnings that a call gave until its outcome. Raises TimeoutError."""
        self._outcome(timeout_s)
        return list(self._warnings)

    def _outcome(self, timeout_s: float | None) -> Outcome:
        if self._known is None:
            from .python.outcome import read_outcome

            self._known, self._warnings = read_outcome(self.client, self.id, timeout_s)
        return self._known

    def files(self) -> tuple[FileEntry, ...]:
        """What came out of it so far."""
        return self.client.files(self.id).entries

    def pull(
        self,
        *globs: str,
        to: str | Path | None = None,
        tasks: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> PullReport:
        """Bring results home: all, or those that a glob names, or of these tasks (``"3-5,9"``)."""
        folder = None if to is None else Path(to)
        return bring_home(self.client, self.job, globs=globs, to=folder, tasks=tasks, progress=progress)

    def stop(self, tasks: str | None = None) -> Job:
        """SIGTERM, and SIGKILL after the grace; to all of it or to these tasks (``"3-5,9"``)."""
        return self._control(Operation.STOP, tasks)

    def kill(self, tasks: str | None = None) -> Job:
        """SIGKILL at once."""
        return self._control(Operation.KILL, tasks)

    def suspend(self) -> Job:
        """Halt it where it is; its cpus stay taken."""
        return self._control(Operation.SUSPEND)

    def resume(self) -> Job:
        """Let a suspended one go on."""
        return self._control(Operation.RESUME)

    def _control(self, operation: Operation, tasks: str | None = None) -> Job:
        self.job = self.client.control(self.id, operation, indices=tasks)
        return self.job


def bring_home(
    client: Client,
    job: Job,
    *,
    globs: Sequence[str] = (),
    to: Path | None = None,
    tasks: str | None = None,
    limit_bytes: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PullReport:
    """Fetch what came out of a job into the place that it belongs to, and tell the server when all of an
    ended job's results are home. ``tasks``: only what these wrote."""
    from .ledger import Ledger
    from .pull import choose_target, pull

    spec = client.spec(job.id)
    script = f"{spec.workdir}/{spec.script}".lstrip("/") if spec.script else ""
    entries: Sequence[FileEntry] = client.files(job.id).entries
    index: IndexFile | None = None
    if job.array:
        from .task_home import index_file, only

        entries = entries if tasks is None else only(entries, tasks)
        index = index_file(client.tasks(job.id), job.ended_at)
    report = pull(
        job,
        entries,
        choose_target(job, cwd=Path.cwd(), to=to),
        fetch=lambda entries: client.read_files(job.id, entries),
        blob=client.blob,
        tree=spec.tree,
        ledger=Ledger(client.settings.places.client_dir),
        script=script,
        globs=globs,
        index=index,
        limit_bytes=limit_bytes,
        progress=progress,
    )
    if report.complete and not globs and tasks is None and job.state.ended:
        client.mark_pulled(job.id)
    return report
