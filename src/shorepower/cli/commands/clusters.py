"""``shore clusters``: where jobs can run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, json_option, server_option

if TYPE_CHECKING:
    from ...model.cluster import ClusterInfo

__all__ = ["command"]


@click.command("clusters")
@json_option
@server_option
def command(**given: Any) -> None:
    """Where jobs can run, what there is and what is free."""
    with client_of(given["server"]) as client:
        known = client.clusters()
    if given["as_json"]:
        from ..render import json

        json.document({"clusters": known})
        return
    from ..render.table import columns

    header = ("CLUSTER", "TYPE", "CPUS", "MEMORY", "GPUS", "QUEUES / NOTE")
    click.echo(columns(header, [_row(info) for info in known]))


def _row(info: ClusterInfo) -> tuple[str, ...]:
    from ...model.resources import format_memory

    memory = "" if info.memory_mib is None else format_memory(info.memory_mib)
    if info.memory_free_mib is not None:
        memory = f"{format_memory(info.memory_free_mib)} of {memory} free"
    cpus = "" if info.cpu_count is None else f"{info.cpu_count:g}"
    if info.cpus_free is not None:
        cpus = f"{info.cpus_free:g} of {cpus} free"
    gpus = f"{info.gpu_count} {' '.join(info.gpu_types)}".strip() if info.gpu_count else "none"
    note = ", ".join(line.name + ("*" if line.is_default else "") for line in info.queues)
    if info.stale_since is not None:
        note = f"silent since {info.stale_since.astimezone():%H:%M}: {info.why_stale}"
    return info.name, info.type, cpus, memory, gpus, note
