"""What earlier runs of the same script used, and what is asked for by it (``-m auto``, ``-c auto``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from msgspec import Struct

from ..model.cluster import ClusterInfo
from ..model.errors import ShorepowerError
from ..model.job import JobSpec
from ..model.resources import Resources
from ..model.sizing import Need, need_of, same_script, sized
from .requests import JobQuery

if TYPE_CHECKING:
    from .client import Client

__all__ = ["Sizing", "size"]

_LOOKED_THROUGH = 30
"""The newest jobs of the name, among which those of the script are looked for."""
_ENDED = ("COMPLETED", "FAILED")


class Sizing(Struct, frozen=True, kw_only=True):
    """What is asked for, and what it is measured by."""

    resources: Resources
    need: Need | None = None
    """None: no earlier run tells anything, or nothing was asked for."""
    notes: tuple[str, ...] = ()


def size(client: Client, spec: JobSpec, auto: Collection[str], info: ClusterInfo) -> Sizing:
    """Settle the amounts in ``auto`` (of `shorepower.model.sizing.AUTO`).

    Where no run tells anything they stay what the script or the settings say. The runs are those of the
    caller, on the same cluster, from the same project, under the same name.
    """
    asked = spec.resources
    if not auto and asked.cpu_count is None and asked.memory_mib is None:
        return Sizing(resources=asked)  # a job that asks nothing pays for no question
    need = _need(client, spec)
    if need is not None:
        settled = sized(asked, auto, need, info.cpu_count, info.memory_mib)
        return Sizing(resources=settled, need=need)
    if not auto:
        return Sizing(resources=asked)
    what = " and ".join(sorted(auto))
    note = (
        f"auto: no earlier run of {spec.name} here tells how much {what} it needs; nothing is sized by it"
    )
    return Sizing(resources=asked, notes=(note,))


def _need(client: Client, spec: JobSpec) -> Need | None:
    query = JobQuery(states=_ENDED, cluster=spec.cluster, name=spec.name, limit=_LOOKED_THROUGH)
    try:
        jobs = client.jobs(query).jobs
    except ShorepowerError:
        return None  # what was used before is good to know, and no more
    return need_of(same_script(jobs, spec.script, spec.project))
