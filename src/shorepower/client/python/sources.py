"""A program that travels as a job's input: it runs in the project, and lies outside of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..client import new_key
from ..deliver import deliver, submit
from ..handle import JobHandle
from ..options import Options
from ..prepare import prepare
from . import payload

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["send_source"]

_START = 'exec "$0" "$SHOREPOWER_INPUT" "$@"'
"""The path is known in the job alone."""


def send_source(
    client: Client,
    program: str,
    source: bytes,
    arguments: Sequence[str],
    options: Options,
    *,
    media_type: str,
    ask_secret: Callable[[str], str] | None = None,
) -> JobHandle:
    """Start ``program SOURCE ARGUMENTS...`` in the project. Raises InvalidRequest with every fault,
    ProjectTooLarge."""
    words = ["sh", "-c", _START, program, *arguments]
    prepared = prepare(client, words, replace(options, command=True), ask_secret=ask_secret)
    for note in prepared.notes:
        client.say(note)
    sent = deliver(client, prepared)
    made = payload.deliver(payload.Input(source, ()), missing=client.missing_blobs, send=client.put_blobs)
    made = replace(made, media_type=media_type)
    prepared = replace(prepared, spec=replace(prepared.spec, input=made))
    return JobHandle(client, submit(client, prepared, sent, new_key()))
