"""``shore logs``: what a job wrote."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, job_argument, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...client.client import Client
    from ...model.output import OutputPiece

__all__ = ["command"]

LINE_BYTES = 256
"""Taken for the length of a line when the last few are asked for."""


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--tail", type=click.IntRange(1), metavar="LINES", help="About the last lines only.")
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="One of the two streams only.")
@click.option("--pull", is_flag=True, help="With -f: bring the results home at the end.")
@json_option
@server_option
@job_argument
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """What a job wrote: its standard output on yours, its standard error on yours.

    With -f until the job has ended; Ctrl-C ends the watching, not the job. Of an array each line begins
    with the index of its task, 7|; ID_7 is one task by itself, ID_3-5,9 are several.
    """
    from ...model.errors import Unreachable

    with client_of(given["server"]) as client:
        try:
            job, indices = client.named(given["job"])
        except Unreachable:
            _followed_before(client, given)
            raise
        if indices is not None:
            ctx.exit(_tasks(client, job, indices, given))
        if given["follow"]:
            ctx.exit(_follow(client, job, given))
        pieces = _last_lines(
            client.output(job.id, follow=False, tail_bytes=_tail_bytes(given)), given["tail"]
        )
        if job.array and not given["as_json"]:
            from ..prefix import prefixed

            pieces = prefixed(pieces)
        _print(pieces, job.id, given)


def _tasks(client: Client, job: Any, indices: str, given: dict[str, Any]) -> int:
    from ..tasks import read_logs

    return read_logs(
        client,
        job,
        indices,
        follow=given["follow"],
        tail_bytes=_tail_bytes(given),
        plain=given["as_json"],
        show=lambda pieces: _print(_last_lines(pieces, given["tail"]), job.id, given),
    )


def _follow(client: Client, job: Any, given: dict[str, Any]) -> int:
    from ..attached import Attached, View
    from ..ending import finish, left_running
    from ..launch import asks
    from ..render.quiet import summary

    view = View(
        on_interrupt="leave",
        as_json=given["as_json"],
        lines=False,
        tail_bytes=_tail_bytes(given),
        stream=given["stream"],
    )
    attached = Attached(client, job, view)
    ended = attached.follow()
    if ended is None:
        return left_running(attached.job)
    if given["pull"] or given["as_json"]:
        finish(client, ended, pull=given["pull"], as_json=given["as_json"])
        return int(bool(attached.unwritten))
    say(summary(ended))
    if asks():
        from ..offer import offer_pull

        offer_pull(client, ended)
    return int(bool(attached.unwritten))


def _print(pieces: Iterable[OutputPiece], job: str, given: dict[str, Any]) -> None:
    lines = None
    if given["as_json"]:
        from ..render.json import OutputLines

        lines = OutputLines(job)
    for piece in pieces:
        if given["stream"] in (None, piece.stream.value) or piece.kind == "end":
            if lines is not None:
                lines.print(piece)
            else:
                _put(piece)


def _put(piece: OutputPiece) -> None:
    if piece.kind == "gap":
        from ..render.figures import format_bytes

        say(f"{format_bytes(piece.missing_bytes)} of {piece.stream.value} are no longer kept")
    rest = memoryview(piece.data)
    while rest:
        rest = rest[os.write(1 if piece.stream.value == "stdout" else 2, rest) :]


def _tail_bytes(given: dict[str, Any]) -> int | None:
    return given["tail"] * LINE_BYTES if given["tail"] else None


def _last_lines(pieces: Any, lines: int | None) -> Any:
    """The pieces, or the last lines of each stream of each task in them."""
    if lines is None:
        yield from pieces
        return
    from msgspec.structs import replace

    every = [piece for piece in pieces if piece.kind == "output"]
    for place in dict.fromkeys((piece.task, piece.stream) for piece in every):
        own = [piece for piece in every if (piece.task, piece.stream) == place]
        data = b"".join(piece.data for piece in own)
        kept = b"".join(data.splitlines(keepends=True)[-lines:])
        last = own[-1]
        end = last.offset + len(last.data)
        yield replace(last, data=kept, offset=end - len(kept))


def _followed_before(client: Client, given: dict[str, Any]) -> None:
    """What this client printed of the job before, for a server that cannot be reached."""
    from ...client.seen import Followed
    from ...model.errors import ShorepowerError

    folder = client.settings.places.client_dir
    name, _, indices = given["job"].partition("_") if given["job"][:1] != "@" else (given["job"], "", "")
    try:
        _, seen = client.seen.job(name)
        job, stood = seen.id, f": {seen.name} was {seen.state.value.lower()} then"
    except ShorepowerError:  # it was watched, and nobody saw it end
        known = Followed.jobs(folder, name)
        if len(known) != 1:
            return
        job, stood = known[0], ""
    pieces = Followed(folder, job).pieces()
    if indices:
        from ...client.tasks import among

        pieces = [piece for piece in pieces if among(indices, piece.task)]
    told: Iterable[OutputPiece] = _last_lines(pieces, given["tail"])
    if len({piece.task for piece in pieces}) > 1 and not given["as_json"]:
        from ..prefix import prefixed

        told = prefixed(told)
    _print(told, job, given)
    if pieces and not given["as_json"]:
        say(f"only what was followed here before{stood}")
