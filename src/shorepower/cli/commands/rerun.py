"""``shore rerun``: the same snapshot once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..options import resource_options, resources_of
from ..verbs import client_of, ids_option, job_argument, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.client import Client
    from ...model.job import Job, JobSpec
    from ...model.sizing import Need

__all__ = ["command"]


@click.command("rerun")
@click.option("--failed", is_flag=True, help="Of an array: only the tasks that did not complete.")
@resource_options
@click.option(
    "--secret", "secret", metavar="NAME[=@FILE]", multiple=True, help="Where a secret comes from."
)
@click.option("--detach", is_flag=True, help="Return at once and print the new job's id.")
@click.option("--no-pull", is_flag=True, help="Leave the results on the server.")
@json_option
@ids_option
@server_option
@job_argument
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Run a job again as it was sent, with other resources if you name them; attached, as shore run.

    What has changed in the project since is not seen. Secrets are taken from your environment or asked for
    again. ID_3-5,9 runs these tasks of an array again, with the parameters that they had.
    """
    resources = resources_of(given)
    with client_of(given["server"]) as client:
        before, indices = client.named(given["job"])
        spec = _changed(client.spec(before.id), resources)
        need = None
        if resources["auto"]:
            spec, need = _sized(client, spec, resources["auto"])
        if given["failed"] or indices is not None:
            spec = _only(client, before, spec, indices, failed=given["failed"])
        secrets = _secrets(client, spec, given["secret"])
        job = _submit(client, before, spec, secrets)
        client.seen.remember([job])
        if given["detach"] or given["ids"]:
            _print(job, as_json=given["as_json"])
            return
        ctx.exit(_attend(client, job, spec, given, need))


def _changed(spec: JobSpec, asked: dict[str, Any]) -> JobSpec:
    from msgspec.structs import replace

    gpus = asked["gpus"] or (spec.resources.gpu_count, spec.resources.gpu_type)
    resources = replace(
        spec.resources,
        cpu_count=asked["cpus"] or spec.resources.cpu_count,
        memory_mib=asked["memory_mib"] or spec.resources.memory_mib,
        wall_time_s=asked["wall_time_s"] or spec.resources.wall_time_s,
        gpu_count=gpus[0],
        gpu_type=gpus[1],
    )
    return replace(spec, resources=resources, queue=asked["queue"] or spec.queue, after=(), not_before=None)


def _sized(client: Client, spec: JobSpec, auto: frozenset[str]) -> tuple[JobSpec, Need | None]:
    """By what earlier runs used, the one that is run again among them."""
    from msgspec.structs import replace

    from ...client.sizing import size

    info = next((one for one in client.clusters() if one.name == spec.cluster), None)
    if info is None:
        return spec, None  # the submit tells which clusters there are
    sizing = size(client, spec, auto, info)
    for note in sizing.notes:
        say(note)
    return replace(spec, resources=sizing.resources), sizing.need


def _only(client: Client, before: Job, spec: JobSpec, indices: str | None, *, failed: bool) -> JobSpec:
    """The same array with some of its tasks."""
    from msgspec.structs import replace

    from ...client.tasks import chosen, needs_array
    from ...model.array import ranges_of
    from ...model.errors import NotFound

    assert needs_array(before) and spec.array is not None
    if not failed:
        again = chosen(client, before, indices or "")
    else:
        ended = client.tasks(before.id, states=("FAILED", "CANCELED"), indices=indices)
        again = [task.index for task in ended]
        if not again:
            raise NotFound(f"every task of {before.name} ({before.id[:5]}) that has ended completed")
    return replace(spec, array=replace(spec.array, ranges=ranges_of(again)))


def _secrets(client: Client, spec: JobSpec, named: tuple[str, ...]) -> dict[str, str]:
    """Values of the secrets that the job had, by where they come from now."""
    from ...client.environment import gather
    from ..launch import ask_secret, asks

    said = {text.partition("=")[0]: text for text in named}
    wanted = [said.get(name, name) for name in spec.secrets]
    made = gather(client.environ, here=False, secrets=wanted, ask=ask_secret if asks() else None)
    return made.secrets


def _submit(client: Client, before: Job, spec: JobSpec, secrets: dict[str, str]) -> Job:
    from ...model.errors import InvalidRequest, NotFound

    try:
        return client.submit_spec(spec, secrets=secrets)
    except InvalidRequest as wrong:
        if not any(fault.field == "tree" or fault.field.startswith("array.rows") for fault in wrong.faults):
            raise
        raise NotFound(
            f"what was sent for {before.name} ({before.id[:5]}) is no longer kept; "
            f"run it again from {before.project}"
        ) from None


def _enforces_memory(client: Client, cluster: str) -> bool:
    return all(info.capabilities.enforces_memory for info in client.clusters() if info.name == cluster)


def _print(job: Job, *, as_json: bool) -> None:
    if as_json:
        from ..render import json

        json.document(job)
    else:
        click.echo(job.id)


def _attend(client: Client, job: Job, spec: JobSpec, given: dict[str, Any], need: Need | None) -> int:
    from ...client.pull import ATTACHED_LIMIT_BYTES
    from ..attached import Attached, View
    from ..ending import finish, left_running
    from ..render.asked import asked_line

    if not given["as_json"]:
        say(f"{spec.cluster} · {job.name} as it was sent")
        if spec.array is not None:
            from ...client.arrays import ArrayPlan

            say(ArrayPlan(spec=spec.array).line())
        enforced = spec.resources.memory_mib is None or _enforces_memory(client, spec.cluster)
        if asked := asked_line(spec.resources, enforces_memory=enforced, need=need):
            say(asked)
    attached = Attached(
        client, job, View(as_json=given["as_json"], on_interrupt=client.settings.run.on_interrupt)
    )
    ended = attached.follow()
    if ended is None:
        return left_running(attached.job)
    code = finish(
        client,
        ended,
        pull=not given["no_pull"],
        as_json=given["as_json"],
        limit_bytes=ATTACHED_LIMIT_BYTES,
    )
    return code or int(bool(attached.unwritten))
