"""Starting one attempt: its environment, its output files, its wrapper."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from ...host.contract import Spawn, Spawned, SpawnLater
from ...host.disk import boot_id
from ...host.families import MARKS
from ...host.processes import uptime_cs
from ...model.errors import InvalidRequest
from ..contract import Order
from ..spool import Part
from ..wrapper import Errand, carried, command, is_plain
from .job import LocalJob, Site, marks_of, only_task
from .queue import Grant

__all__ = ["TRANSIENT", "environment", "nice_of", "planned", "prepare", "start"]

TRANSIENT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""The machine cannot start a process now, but it will be able to later."""


async def start(site: Site, job: LocalJob) -> Spawned:
    """Start the wrapper. Nothing of the job runs if this raises: OSError, StateDirectoryFault, StorageFault
    (try again later), InvalidRequest (what the order says cannot be done), ValueError (a NUL byte)."""

    def make(files: ExitStack) -> Spawn:
        assert job.grant is not None  # it was given its resources before it was started
        job.order = planned(job.order)
        return prepare(site, job.order, job.grant, job.part, files)

    return await site.host.spawn(SpawnLater(make=make, nice=nice_of(site, job.order)))


def planned(order: Order) -> Order:
    """With what its one task runs, if that is a task of an array; its folder is laid out. Blocking.

    Raises StorageFault (try again later), InvalidRequest (it cannot start).
    """
    if order.each is None:
        return order
    plan = order.each.plan(only_task(order.tasks))
    return replace(order, argv=plan.argv, env=plan.env, cwd=plan.cwd, progress_file=plan.progress_file)


def environment(order: Order, grant: Grant, now: datetime, secrets: Mapping[str, str]) -> dict[str, str]:
    """The job's whole environment. Source: the contract, §3."""
    env = {**order.env, **secrets}
    marks = (mark.decode() for mark in marks_of(order))
    env.update(zip((name.decode() for name in MARKS), marks, strict=True))
    if grant.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(grant.gpus)
        env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # so that the numbers mean what the driver means
    if order.resources.wall_time_s:
        deadline = now + timedelta(seconds=order.resources.wall_time_s)
        env["SHOREPOWER_DEADLINE"] = deadline.strftime("%Y-%m-%dT%H:%M:%SZ")
    return env


def prepare(site: Site, order: Order, grant: Grant, part: Part, files: ExitStack) -> Spawn:
    """The wrapper's start; what it opens is closed with ``files``. Raises as `start` does."""
    now = site.clock.now()
    env = environment(order, grant, now, _secrets(order))
    stdout, stderr = part.open_output()
    files.callback(os.close, stdout)
    files.callback(os.close, stderr)
    stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    files.callback(os.close, stdin)
    argv, plain = carried(order.argv, env)
    return Spawn(
        argv=command(site.settings.shell, _errand(order, part, grant, now), argv),
        env=plain,
        cwd="/",
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        umask=0o077,
        nice=nice_of(site, order),
    )


def nice_of(site: Site, order: Order) -> int:
    """How much nicer it runs than the server."""
    return site.settings.nice if order.resources.asks_nothing else 0


def _errand(order: Order, part: Part, grant: Grant, now: datetime) -> Errand:
    return Errand(
        folder=str(part.folder),
        submission=order.submission,
        task=part.task,
        restart=part.restart,
        facts=f"native=- gpus={','.join(grant.gpus)}",
        boot=boot_id() or "-",
        zero_cs=int(now.timestamp() * 100) - uptime_cs(),
        umask=order.umask,
        cwd=order.cwd,
        stdin=order.stdin or "-",
    )


def _secrets(order: Order) -> dict[str, str]:
    """Never on a command line: only the wrapper's environment carries them."""
    if order.secrets_file is None:
        return {}
    try:
        data = Path(order.secrets_file).read_bytes()
    except FileNotFoundError:
        raise InvalidRequest("its secrets are gone from this server; submit it again") from None
    try:
        secrets = msgspec.json.decode(data, type=dict[str, str])
    except msgspec.DecodeError:
        raise InvalidRequest("its secrets cannot be read; submit it again") from None
    for name in secrets:
        if not is_plain(name):
            raise InvalidRequest(f"a shell would not hand on a secret named {name!r}; rename it")
    return secrets
