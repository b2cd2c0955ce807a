"""What was prepared goes out: its files, its input, then the job itself, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ..model.errors import InvalidRequest
from ..model.job import Job, JobSpec
from ..model.tree import CHUNK_BYTES, digest_of
from ..wire.http.frames import encode_frame
from .client import new_key
from .options import read_options
from .prepare import Prepared, prepare
from .statcache import StatCache
from .upload import Pack, SendProgress, Sent, upload

if TYPE_CHECKING:
    from .client import Client

__all__ = ["deliver", "send", "submit"]


def send(client: Client, words: Sequence[str | Path], given: Mapping[str, Any]) -> Job:
    """All steps in one, for programs."""
    prepared = prepare(client, [str(word) for word in words], read_options(given))
    for note in prepared.notes:
        client.say(note)
    sent = deliver(client, prepared)
    return submit(client, prepared, sent, new_key())


def deliver(
    client: Client,
    prepared: Prepared,
    *,
    thorough: bool = False,
    progress: Callable[[SendProgress], None] | None = None,
) -> Sent | None:
    """Send the project; None when there is none to send. What the server has is not sent again."""
    if prepared.view is None:
        return None

    def put(pack: Pack) -> None:
        client.put_blobs(pack.body, pack.encoding)

    cache = StatCache.of(prepared.view.root, prepared.settings.places.cache_dir)
    sent = upload(
        prepared.view,
        missing=client.missing_blobs,
        send=put,
        cache=cache,
        thorough=thorough,
        progress=progress,
    )
    cache.save()
    return sent


def submit(client: Client, prepared: Prepared, sent: Sent | None, key: str) -> Job:
    """Record the job; on the server's disk when this returns.

    What was cleared away on the server between asking and submitting is sent once more.
    """
    stdin = _deliver_input(client, prepared)
    try:
        return client.submit_spec(_complete(prepared, sent, stdin), key=key, secrets=prepared.secrets)
    except InvalidRequest as wrong:
        if not any(fault.field == "tree" or fault.field.startswith("array.rows") for fault in wrong.faults):
            raise
    again = deliver(client, prepared, thorough=True)
    stdin = _deliver_input(client, prepared)
    return client.submit_spec(_complete(prepared, again, stdin), key=key, secrets=prepared.secrets)


def _deliver_input(client: Client, prepared: Prepared) -> tuple[str, ...]:
    """Send standard input and the rows of an array in chunks; the digests of standard input."""
    _deliver_rows(client, prepared)
    digests: list[str] = []
    if prepared.stdin is not None:
        prepared.stdin.seek(0)
        while data := prepared.stdin.read(CHUNK_BYTES):
            digests.append(digest_of(data))
            if client.missing_blobs(digests[-1:]):
                client.put_blobs(encode_frame({"digest": digests[-1]}, data))
    return tuple(digests)


def _deliver_rows(client: Client, prepared: Prepared) -> None:
    rows = prepared.array.rows if prepared.array is not None else None
    if rows is None:
        return
    missing = set(client.missing_blobs([blob.digest for blob in rows.blobs]))
    for blob in rows.blobs:
        if blob.digest in missing:
            rows.file.seek(blob.offset)
            client.put_blobs(encode_frame({"digest": blob.digest}, rows.file.read(blob.size)))


def _complete(prepared: Prepared, sent: Sent | None, stdin: tuple[str, ...]) -> JobSpec:
    return replace(prepared.spec, tree=sent.tree if sent else None, stdin=stdin)
