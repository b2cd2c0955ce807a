"""``--dry-run``: everything that would be sent, and everything that would stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import click

from ..model.resources import counted
from .launch import prepared_for
from .render import json
from .render.figures import format_bytes
from .voice import clean, say

if TYPE_CHECKING:
    from ..client.arrays import ArrayPlan
    from ..client.client import Client
    from ..client.options import Options
    from ..client.prepare import Prepared
    from ..model.errors import Fault

__all__ = ["dry_run"]

FIRST_TASKS = 5


def dry_run(
    client: Client, words: Sequence[str], options: Options, faults: Sequence[Fault], *, as_json: bool
) -> None:
    """Print it; nothing is sent. Raises InvalidRequest with ``faults`` and all others."""
    prepared = prepared_for(client, words, options, faults)
    if as_json:
        json.document(_document(prepared))
        return
    for note in prepared.notes:
        say(note)
    rows = prepared.array.rows if prepared.array is not None else None
    command = "each command by sh -c" if rows and rows.kind == "command" else " ".join(prepared.spec.argv)
    say(f"would run: {command}")
    if prepared.chosen is not None:
        say(f"with {prepared.chosen.label}")
    if prepared.array is not None:
        _say_tasks(prepared.array)
    for file in dict.fromkeys(filter(None, (prepared.spec.stdout_file, prepared.spec.stderr_file))):
        say(f"output would also be saved as {file}")
    view = prepared.view
    if view is None:
        say(f"in place, in {prepared.spec.workdir}")
        return
    say(f"project {view.root} ({prepared.found.why}), starting in {view.workdir or '.'}")
    for path, item in view.files():
        click.echo(clean(f"send   {format_bytes(item.size_bytes):>8}  {path}"))
    for one in view.not_sent:
        size = "" if one.size_bytes is None else format_bytes(one.size_bytes)
        click.echo(clean(f"{'link' if one.linked else 'leave':<6} {size:>8}  {one.path}  ({one.why})"))
    say(f"{counted(view.file_count, 'file')}, {format_bytes(view.size_bytes)}; nothing was sent")


def _say_tasks(array: ArrayPlan) -> None:
    say(array.line())
    first = list(islice(array.spec.indices(), FIRST_TASKS))
    for index in first:
        say(f"task {index}: {array.told(index)}".rstrip(": "))
    if array.spec.count > len(first):
        say(f"and {array.spec.count - len(first):,} more")


def _document(prepared: Prepared) -> dict[str, object]:
    view = prepared.view
    document: dict[str, object] = {
        "spec": prepared.spec,
        "notes": prepared.notes,
        "runtime": prepared.chosen.label if prepared.chosen else None,
    }
    if (array := prepared.array) is not None:
        first = islice(array.spec.indices(), FIRST_TASKS)
        document["task_count"] = array.spec.count
        document["tasks"] = [{"index": index, **array.given(index)} for index in first]
    if view is not None:
        document |= {
            "project": str(view.root),
            "file_count": view.file_count,
            "size_bytes": view.size_bytes,
            "sent": [{"path": path, "size_bytes": item.size_bytes} for path, item in view.files()],
            "not_sent": view.not_sent,
        }
    return document
