"""A project becomes blobs: built bottom-up, asked for top-down, sent in packs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from ..model.errors import ShorepowerError
from .project import ProjectView
from .statcache import StatCache

__all__ = ["FileKeepsChanging", "Pack", "SendProgress", "Sent", "upload"]


class FileKeepsChanging(ShorepowerError):
    """A file was written to each time it was read; nothing was submitted."""


class Pack(Struct, frozen=True, kw_only=True):
    """One request body for ``POST /v1/blobs``."""

    body: bytes
    """Frames, at most 16 MiB of payload."""
    encoding: str | None
    """``zstd`` or None: the ``Content-Encoding``."""
    blob_count: int


class SendProgress(Struct, frozen=True, kw_only=True):
    """How far an upload is."""

    phase: str
    """``reading``, ``asking`` or ``sending``."""
    done_bytes: int
    total_bytes: int


class Sent(Struct, frozen=True, kw_only=True):
    """What became of it."""

    tree: str
    """Digest of the root tree object, for `JobSpec.tree`."""
    file_count: int
    size_bytes: int
    changed_count: int
    """Files that had to be sent."""
    sent_bytes: int
    """Bytes of request bodies."""


def upload(
    view: ProjectView,
    *,
    missing: Callable[[Sequence[str]], Sequence[str]],
    send: Callable[[Pack], None],
    cache: StatCache,
    thorough: bool = False,
    progress: Callable[[SendProgress], None] | None = None,
) -> Sent:
    """Send what the server does not have.

    ``missing`` asks ``POST /v1/blobs:missing`` (at most 10,000 digests), ``send`` does ``POST /v1/blobs``.
    A folder whose tree object is there is skipped whole; ``thorough`` asks for everything (when a submit
    was refused because parts were missing after all). Raises FileKeepsChanging, InvalidRequest for a
    folder or file that vanished or cannot be read, and whatever the two callables raise.
    """
    raise NotImplementedError
