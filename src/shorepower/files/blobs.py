"""Content-addressed blobs: ``blobs/ab/cdef…`` below the state directory.

Blocking; called in worker threads. Safe for use by several threads at once; one process owns a root.
Nobody but the owner can write there, so paths are opened by name.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..host.disk import sync_file_system
from ..model.errors import InvalidRequest, StorageFault
from ..model.tree import CHUNK_BYTES, digest_of, is_digest

__all__ = ["BlobLost", "BlobStore"]

_EMPTY = digest_of(b"")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WHOLE_LIMIT = 200_000
_FEW = 4
"""So many blobs are synced one by one: cheaper than everything else that waits for the disk."""


class BlobLost(InvalidRequest):
    """A blob that was relied on is not there, or is not what its name says; sending it again mends that."""


class BlobStore:
    """Blobs of at most 16 MiB, each under its digest. Making one touches no disk: see `prepare`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._serial = itertools.count()
        self.whole_trees: set[str] = set()
        """Tree objects found with everything below them; emptied when a blob goes."""
        self.deletions = 0
        """Grows when a blob goes."""

    def prepare(self) -> None:
        """Make the folders and sweep what dead runs left half-written; once, before any other use.

        Raises StorageFault.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("incoming", *(f"{byte:02x}" for byte in range(256))):
                (self.root / name).mkdir(mode=0o700, exist_ok=True)
            for left in os.listdir(self.root / "incoming"):
                os.unlink(self.root / "incoming" / left)
            _sync_path(self.root)
        except OSError as error:
            raise StorageFault(f"the blobs in {self.root} cannot be used: {error.strerror}") from error

    def put(self, blobs: Iterable[tuple[str, bytes]]) -> int:
        """Keep blobs; all are on disk (one sync for the whole call) when this returns. Bytes newly kept.

        A blob already there is compared and, where it is damaged, replaced. Raises InvalidRequest when
        a digest does not fit its bytes or a blob is over 16 MiB, StorageFault when the disk refuses;
        then nothing of the call is visible, except perhaps some whole blobs.
        """
        written: dict[str, str] = {}
        places: list[str] = []
        size = 0
        try:
            for digest, data in blobs:
                place = self._checked(digest, data)
                places.append(place)
                if place not in written and not _holds(place, data):
                    written[place] = self._write(data)
                    size += len(data)
            for place, temporary in list(written.items()):
                os.rename(temporary, place)
                del written[place]
            self._sync(places)
        except OSError as error:
            raise _refused(error) from error
        finally:
            for temporary in written.values():
                _unlink(temporary)
        return size

    def get(self, digest: str) -> bytes:
        """The bytes, verified. Raises BlobLost, StorageFault."""
        place = self.place(digest)
        data = _read(place, digest)
        if digest_of(data) != digest and digest_of(data := _read(place, digest)) != digest:
            self.delete([digest])
            raise BlobLost(f"{digest} was damaged on disk; send it again")
        return data

    def place(self, digest: str) -> str:
        """The file of a blob. Raises InvalidRequest for what is no digest."""
        if not is_digest(digest):
            raise InvalidRequest(f"{digest!r} is not a digest; write sha256: and 64 hexadecimal digits")
        return f"{self.root}/{digest[7:9]}/{digest[9:]}"

    def missing(self, digests: Sequence[str]) -> list[str]:
        """Those that are not there, in order, each once. Raises InvalidRequest for what is no digest."""
        return [digest for digest in dict.fromkeys(digests) if not self._has(digest)]

    def delete(self, digests: Iterable[str]) -> int:
        """Remove these where they are there; bytes freed. Raises StorageFault."""
        freed = 0
        for digest in digests:
            place = self.place(digest)
            try:
                size = os.stat(place, follow_symlinks=False).st_size
                os.unlink(place)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _refused(error) from error
            finally:
                self.deletions += 1
                self.whole_trees.clear()
            freed += size
        return freed

    def each(self) -> Iterator[tuple[str, int, float]]:
        """(digest, size in bytes, seconds since the epoch when it was kept) of every blob; no order."""
        for byte in range(256):
            try:
                with os.scandir(f"{self.root}/{byte:02x}") as entries:
                    for entry in entries:
                        digest = f"sha256:{byte:02x}{entry.name}"
                        if is_digest(digest):
                            status = entry.stat(follow_symlinks=False)
                            yield digest, status.st_size, status.st_mtime
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _refused(error) from error

    def size_bytes(self) -> int:
        """The content of all blobs together."""
        return sum(size for _, size, _ in self.each())

    def remember_whole(self, tree: str, deletions: int) -> None:
        """Note that nothing below a tree object was missing when ``deletions`` was read, before looking."""
        if deletions != self.deletions:
            return
        if len(self.whole_trees) >= _WHOLE_LIMIT:
            self.whole_trees.clear()
        self.whole_trees.add(tree)

    def _checked(self, digest: str, data: bytes) -> str:
        place = self.place(digest)
        if len(data) > CHUNK_BYTES:
            raise InvalidRequest(f"{digest} has {len(data)} bytes; a blob has at most {CHUNK_BYTES}")
        if digest_of(data) != digest:
            raise InvalidRequest(f"what was sent as {digest} is {digest_of(data)}")
        return place

    def _has(self, digest: str) -> bool:
        try:
            size = os.stat(self.place(digest), follow_symlinks=False).st_size
        except FileNotFoundError:
            return False
        except OSError as error:
            raise _refused(error) from error
        return size > 0 or digest == _EMPTY  # an empty one is what a power failure leaves

    def _write(self, data: bytes) -> str:
        temporary = f"{self.root}/incoming/{os.getpid()}-{next(self._serial)}"
        try:
            with open(os.open(temporary, _NEW, 0o600), "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
        except BaseException:
            _unlink(temporary)
            raise
        return temporary

    def _sync(self, places: Sequence[str]) -> None:
        if not places:
            return
        if len(places) > _FEW:
            root = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                sync_file_system(root)
            except NotImplementedError:
                pass  # one by one, below
            else:
                return
            finally:
                os.close(root)
        for path in dict.fromkeys([*places, *(os.path.dirname(place) for place in places)]):
            _sync_path(path)


def _holds(place: str, data: bytes) -> bool:
    """Whether a blob is there already, undamaged."""
    try:
        if os.stat(place, follow_symlinks=False).st_size != len(data):
            return False
        with open(os.open(place, _READ), "rb", buffering=0) as file:
            return file.read(len(data) + 1) == data
    except FileNotFoundError:
        return False


def _read(place: str, digest: str) -> bytes:
    try:
        with open(os.open(place, _READ), "rb", buffering=0) as file:
            return file.readall()
    except FileNotFoundError:
        raise BlobLost(f"{digest} is not here; send it again") from None
    except OSError as error:
        raise StorageFault(f"{digest} cannot be read: {error.strerror}") from error


def _sync_path(path: str | Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # swept at the next start


def _refused(error: OSError) -> StorageFault:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "the disk is full" if full else error.strerror or str(error)
    return StorageFault(f"what was sent cannot be kept: {why}")
