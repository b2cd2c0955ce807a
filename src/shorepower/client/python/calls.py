"""Functions become jobs: with what, where, and what is handed back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...model.array import ArraySpec, Range
from ...model.errors import Fault, InvalidRequest
from ...model.job import Job, JobSpec, Origin
from ...model.payload import Payload
from ..asked import asked_for
from ..environment import gather
from ..find import find_project
from ..names import shown
from ..options import Options, read_options
from ..process import own_umask
from ..sbatch import Directives
from ..settings import load_settings
from . import payload
from .interpreter import choose_python
from .tree import SCRIPT, runner_tree

if TYPE_CHECKING:
    from ..client import Client
    from ..handle import JobHandle
    from .mapjob import MapJob

__all__ = ["Calls", "name_of"]

T = TypeVar("T")

_RESOURCES = ("on", "queue", "cpus", "memory_mib", "wall_time_s", "gpus", "within_s")
_MEANT = frozenset({*_RESOURCES, "name", "env", "env_files", "secrets", "tags"})
"""The options that a call can have; the others are about files that a script needs."""
_TASKS_FOR_EACH_CPU = 4
"""Tasks of a map, so that a slow one is made up for."""
_CPUS_GUESSED = 8


class Calls:
    """Calls with the same options. Made by `Client.with_options`; safe to use from several threads.

    What holds of the project (its folder, its ``shore.toml``) is found once, at the first call.
    """

    def __init__(self, client: Client, given: Mapping[str, object]) -> None:
        self.client, self._given = client, dict(given)
        rest = dict(given)
        self._python: Any = rest.pop("python", None)
        self.options: Options = read_options(rest)
        wrong = [name for name in Options.__struct_fields__ if name not in _MEANT and _is_set(self, name)]
        if wrong:
            known = ", ".join(sorted(_MEANT - {"memory_mib", "wall_time_s"} | {"memory", "python", "time"}))
            faults = [Fault(name, f"{name} is not for calls; they take {known}") for name in wrong]
            raise InvalidRequest(faults)

    def with_options(self, **options: Any) -> Calls:
        """These options, and on top of them others."""
        return Calls(self.client, self._given | options)

    def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """See `Client.call`."""
        job = self.spawn(function, *args, **kwargs)
        try:
            return job.result()
        except KeyboardInterrupt:
            job.stop()  # nobody has it in hand any more
            raise

    def spawn(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """See `Client.spawn`."""
        from ..handle import JobHandle

        function = plain(function)
        self._check(function)
        made = payload.call_input(function, args, kwargs)
        return JobHandle(self.client, self.submit(name_of(function), made))

    def map(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], chunksize: int | None = None
    ) -> MapJob:
        """See `Client.map`."""
        from .mapjob import MapJob

        function = plain(function)
        self._check(function)
        if not iterables:
            raise TypeError("map takes a function and at least one iterable")
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize is 1 or more")
        tasks = self.task_count(chunksize)
        made, count = payload.map_input(function, zip(*iterables, strict=False), tasks)
        if not count:
            return MapJob(self.client, None, ())
        job = self.submit(name_of(function), made, tasks(count))
        return MapJob(self.client, job, range(count), tasks=tasks(count))

    def task_count(self, chunksize: int | None) -> Callable[[int], int]:
        """How many tasks share a number of items."""
        if chunksize is not None:
            return lambda count: max(1, -(-count // chunksize))
        cpus = self.cluster_cpus / max(1.0, self.cpus)
        return lambda count: max(1, min(count, int(cpus * _TASKS_FOR_EACH_CPU)))

    @property
    def slots(self) -> int:
        """How many such jobs the cluster has cpus for."""
        return max(1, int(self.cluster_cpus / self.cpus))

    @property
    def cpus(self) -> float:
        """Of each job."""
        return self._resources.cpu_count or 1.0

    @property
    def cluster(self) -> str:
        """Where its jobs go. Raises InvalidRequest."""
        return self._cluster

    @property
    def program(self) -> str:
        """The interpreter of the jobs. Raises WrongPython, InvalidRequest."""
        return self._program

    def submit(self, name: str, made: payload.Input, tasks: int = 1) -> Job:
        """Send what is missing, then the job, once."""
        payload_ = self._deliver(made)
        return self.submit_payload(name, payload_, tasks, again=lambda: self._deliver(made))

    def submit_payload(
        self, name: str, sent: Payload, tasks: int = 1, *, again: Callable[[], Payload] | None = None
    ) -> Job:
        """A job over an input that was sent. The runner, and what was cleared away meanwhile, is sent
        when the server says that it lacks something."""
        from ..client import new_key

        key = new_key()
        tree = runner_tree(self._settings.places.cache_dir)
        try:
            return self.client.submit_spec(
                self._spec(name, sent, tree.root, tasks), key=key, secrets=self._secrets
            )
        except InvalidRequest as wrong:
            if all(fault.field not in ("tree", "input") for fault in wrong.faults):
                raise
        for pack in payload.packs(tree.blobs.items(), set(self.client.missing_blobs(list(tree.blobs)))):
            self.client.put_blobs(pack)
        sent = again() if again is not None else sent
        return self.client.submit_spec(
            self._spec(name, sent, tree.root, tasks), key=key, secrets=self._secrets
        )

    def _deliver(self, made: payload.Input) -> Payload:
        return payload.deliver(made, missing=self.client.missing_blobs, send=self.client.put_blobs)

    def _check(self, function: object) -> None:
        if not callable(function):
            raise TypeError(f"a function is called, not a {type(function).__name__}")
        _ = self._program  # the wrong Python is told before anything is pickled or sent

    def _spec(self, name: str, sent: Payload, tree: str, tasks: int) -> JobSpec:
        from ..home import machine_id

        found, options = self._found, self.options
        up = "../" * len(Path(found.workdir).parts)
        return JobSpec(
            name=options.name or name,
            argv=(self._program, up + SCRIPT),
            cluster=self._cluster,
            queue=options.queue or self._settings.run.queue,
            resources=self._resources,
            env=self._environment.env,
            secrets=tuple(sorted(self._secrets)),
            tree=tree,
            project=str(found.root),
            workdir=found.workdir,
            origin=Origin(host=machine_id(), directory=str(found.root)),
            tags=dict(options.tags),
            umask=own_umask(),
            within_s=options.within_s,
            array=ArraySpec(ranges=(Range(0, tasks - 1),)) if tasks > 1 else None,
            input=sent,
        )

    @cached_property
    def _found(self) -> Any:
        return find_project(Path.cwd())

    @cached_property
    def _settings(self) -> Any:
        return load_settings(self.client.environ, project=self._found.root)

    @cached_property
    def _cluster(self) -> str:
        cluster = self.options.on or self._settings.run.on or "local"
        allowed = self._settings.allowed_clusters
        if allowed and cluster not in allowed:
            where = f"{', '.join(allowed)} only (shore.toml), not {cluster}"
            raise InvalidRequest([Fault("on", f"this project goes to {where}")])
        return cluster

    @cached_property
    def _info(self) -> Any:
        return next((info for info in self.client.clusters() if info.name == self._cluster), None)

    @cached_property
    def cluster_cpus(self) -> float:
        """Of the whole cluster, as far as it tells."""
        return (self._info.cpu_count if self._info is not None else None) or _CPUS_GUESSED

    @cached_property
    def _here(self) -> bool:
        """Whether the cluster sees this file system."""
        if self._info is None or not self._info.capabilities.shared_files:
            return self._info is None  # the server tells which clusters there are
        return bool(self.client.transport.address.socket) or self._probe()

    def _probe(self) -> bool:
        probe = self._found.root / f".shore-probe-{os.urandom(8).hex()}"
        try:
            probe.touch(exist_ok=False)
        except OSError:
            return False
        try:
            look = self.client.look([str(probe)]).get(str(probe))
            return look is not None and look.exists
        finally:
            probe.unlink(missing_ok=True)

    @cached_property
    def _environment(self) -> Any:
        return gather(
            self.client.environ,
            here=self._here,
            pass_env=self._settings.run.pass_env,
            files=self.options.env_files,
            given=self.options.env,
            secrets=self.options.secrets,
        )

    @property
    def _secrets(self) -> dict[str, str]:
        return self._environment.secrets

    @cached_property
    def _program(self) -> str:
        return choose_python(self._python, here=self._here, env=self._environment.env)

    @cached_property
    def _resources(self) -> Any:
        resources, faults = asked_for(self.options, Directives(), self._settings)
        if faults:
            raise InvalidRequest(faults)
        return resources


def _is_set(calls: Calls, name: str) -> bool:
    return getattr(calls.options, name) != getattr(Options(), name)


def plain(function: Any) -> Any:
    """The function itself of one that was decorated with `remote`."""
    from .remote import RemoteFunction

    return function.function if isinstance(function, RemoteFunction) else function


def name_of(function: Any) -> str:
    """What its job is called."""
    named = getattr(function, "func", function)  # functools.partial
    words = getattr(named, "__qualname__", None) or type(named).__qualname__
    return shown(words.rpartition("<locals>.")[2].replace("<lambda>", "lambda"))[:100]
