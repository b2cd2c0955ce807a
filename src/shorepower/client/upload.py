"""A project becomes blobs: asked for top-down, sent bottom-up in packs.

A tree object is sent after everything it needs, so one that the server has is whole, also when an upload
broke off.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct

from ..model.tree import CHUNK_BYTES
from ..wire.http.frames import encode_frame
from .snapshot import BuiltFile, BuiltFolder, FileChanged, FileKeepsChanging, Snapshot, read_chunk
from .statcache import StatCache
from .view import ProjectView

__all__ = ["FileKeepsChanging", "Pack", "SendProgress", "Sent", "upload"]

_PAGE = 10_000
"""Digests in one question."""
_PACK_BYTES = 16 << 20
_WORTH_IT_BYTES = 4 << 10
"""What is smaller goes out sooner as it is."""
_TRIES = 3
_TELL_EVERY_S = 0.05


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
    """Files of which something had to be sent."""
    sent_bytes: int
    """Bytes of request bodies."""


def upload(
    view: ProjectView,
    *,
    missing: Callable[[Sequence[str]], Sequence[str]],
    send: Callable[[Pack], None],
    cache: StatCache,
    thorough: bool = False,
    compress: bool = True,
    progress: Callable[[SendProgress], None] | None = None,
) -> Sent:
    """Send what the server does not have.

    ``missing`` asks ``POST /v1/blobs:missing`` (at most 10,000 digests), ``send`` does ``POST /v1/blobs``.
    A folder whose tree object is there is skipped whole; ``thorough`` asks for everything (when a submit
    was refused because parts were missing after all). Raises FileKeepsChanging, InvalidRequest for a
    file that vanished or cannot be read, TooLarge for a folder with more files than a tree object holds,
    and whatever the two callables raise.
    """
    run = _Upload(view, missing, send, _Teller(progress), compress)
    changing = b""
    for _ in range(_TRIES):
        try:
            return run.attempt(cache, thorough)
        except FileChanged as change:
            changing = change.path
            cache.forget(change.path)
    raise FileKeepsChanging(changing)


class _Teller:
    """Tells progress, but not more often than a screen can show."""

    def __init__(self, hear: Callable[[SendProgress], None] | None) -> None:
        self._hear, self._told_at = hear, 0.0
        self._phase, self._done, self._total = "", 0, 0

    def begin(self, phase: str, total: int) -> None:
        self._phase, self._done, self._total, self._told_at = phase, 0, total, 0.0
        self.add(0)

    def add(self, count: int) -> None:
        self._done += count
        if self._hear is not None and time.monotonic() - self._told_at > _TELL_EVERY_S:
            self._told_at = time.monotonic()
            self._hear(SendProgress(phase=self._phase, done_bytes=self._done, total_bytes=self._total))


class _Upload:
    """One upload, over its tries."""

    def __init__(
        self,
        view: ProjectView,
        missing: Callable[[Sequence[str]], Sequence[str]],
        send: Callable[[Pack], None],
        teller: _Teller,
        compress: bool,
    ) -> None:
        self._view, self._missing, self._send, self._teller = view, missing, send, teller
        self._compress = compress
        self._sent_bytes = 0
        self._sent_paths: set[bytes] = set()

    def attempt(self, cache: StatCache, thorough: bool) -> Sent:
        """Build, ask, send. Raises FileChanged when a file is not what it was when it was read."""
        self._teller.begin("reading", self._view.size_bytes)
        snapshot = Snapshot(self._view, cache, self._teller.add)
        root = snapshot.build()
        self._teller.begin("asking", 0)
        wanted, folders = self._ask(root, thorough)
        for pack in _packs(self._blobs(folders, wanted, snapshot.held), self._compress):
            self._send(pack)
            self._sent_bytes += len(pack.body)
        return Sent(
            tree=root.digest,
            file_count=self._view.file_count,
            size_bytes=root.size_bytes,
            changed_count=len(self._sent_paths),
            sent_bytes=self._sent_bytes,
        )

    def _ask(self, root: BuiltFolder, thorough: bool) -> tuple[set[str], list[BuiltFolder]]:
        """(the digests to send, the folders they are in, inner ones first); level by level, a folder
        that is there ends its branch."""
        wanted: set[str] = set()
        opened: set[BuiltFolder] = set()
        folders, chunks = [root], list[str]()
        while folders or chunks:
            asked = dict.fromkeys([*(folder.digest for folder in folders), *chunks])
            wanted |= self._ask_pages([digest for digest in asked if digest not in wanted])
            open_ = [folder for folder in folders if thorough or folder.digest in wanted]
            opened.update(open_)
            folders = [below for folder in open_ for below in folder.folders]
            chunks = [digest for one in open_ for file in one.content.files for digest in file.digests]
        return wanted, [folder for folder in root.each() if folder in opened]

    def _ask_pages(self, digests: list[str]) -> set[str]:
        pages = (digests[at : at + _PAGE] for at in range(0, len(digests), _PAGE))
        return {digest for page in pages for digest in self._missing(page)}

    def _blobs(
        self, folders: Sequence[BuiltFolder], wanted: set[str], held: dict[str, bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """What is wanted, each once; a tree object after everything it needs."""
        self._teller.begin("sending", _size_of(folders, wanted))
        left = set(wanted)
        for folder in folders:
            for file in folder.content.files:
                for number, digest in enumerate(file.digests):
                    if digest in wanted:
                        self._sent_paths.add(file.path)
                    if digest in left:
                        left.discard(digest)
                        yield digest, self._chunk(file, number, held)
            if folder.digest in left:
                left.discard(folder.digest)
                yield folder.digest, folder.content.tree

    def _chunk(self, file: BuiltFile, number: int, held: dict[str, bytes]) -> bytes:
        chunk = held.pop(file.digests[number], None)
        if chunk is None:
            chunk = read_chunk(os.fsencode(self._view.root), file, number)
        self._teller.add(len(chunk))
        return chunk


def _size_of(folders: Sequence[BuiltFolder], wanted: set[str]) -> int:
    left, size = set(wanted), 0
    for folder in folders:
        for file in folder.content.files:
            for number, digest in enumerate(file.digests):
                if digest in left:
                    left.discard(digest)
                    size += min(CHUNK_BYTES, file.size_bytes - number * CHUNK_BYTES)
    return size


def _packs(blobs: Iterable[tuple[str, bytes]], compress: bool) -> Iterator[Pack]:
    frames: list[bytes] = []
    size = 0
    for digest, data in blobs:
        if frames and size + len(data) > _PACK_BYTES:
            yield _pack(frames, compress)
            frames, size = [], 0
        frames.append(encode_frame({"digest": digest}, data))
        size += len(data)
    if frames:
        yield _pack(frames, compress)


def _pack(frames: list[bytes], compress: bool) -> Pack:
    body = b"".join(frames)
    if compress and len(body) > _WORTH_IT_BYTES:
        import zstandard

        packed = zstandard.ZstdCompressor(level=1).compress(body)
        if len(packed) < 0.95 * len(body):
            return Pack(body=packed, encoding="zstd", blob_count=len(frames))
    return Pack(body=body, encoding=None, blob_count=len(frames))
