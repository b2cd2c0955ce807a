"""Whether a user has sent all that a snapshot needs. A digest is a secret: knowing one gives nothing."""

from __future__ import annotations

from functools import partial

from anyio import CapacityLimiter, to_thread

from ..files.blobs import BlobStore
from ..model.tree import decode_tree
from ..store.contract import Snapshot, Store

__all__ = ["Owned"]

_ASK_AT_ONCE = 5_000
_REMEMBERED = 200_000


class Owned:
    """Remembers, by user, the sub-trees that were found to be all theirs: what somebody has sent once
    may be named by them for good."""

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store, self._blobs = store, blobs
        self._theirs: set[tuple[str, str]] = set()
        self._disk = CapacityLimiter(2)

    async def missing(self, user: str, tree: str, *, limit: int) -> list[str]:
        """Digests that the user has not sent, of a snapshot whose blobs are all there.

        Raises BlobLost, InvalidRequest.
        """
        trees, needed = await to_thread.run_sync(self._needed, user, tree, limiter=self._disk)
        missing: list[str] = []
        for start in range(0, len(needed), _ASK_AT_ONCE):
            some = needed[start : start + _ASK_AT_ONCE]
            theirs = await self._store.read(partial(_owned, user=user, digests=some))
            missing += [digest for digest in some if digest not in theirs]
            if len(missing) >= limit:
                return missing[:limit]
        if not missing:
            if len(self._theirs) + len(trees) > _REMEMBERED:
                self._theirs.clear()
            self._theirs.update((user, one) for one in trees)
        return missing

    def _needed(self, user: str, tree: str) -> tuple[list[str], list[str]]:
        """(tree objects, all digests) of a snapshot, without sub-trees known to be all theirs."""
        trees: dict[str, None] = {}
        needed: dict[str, None] = {}
        open_ = [tree]
        while open_:
            one = open_.pop()
            if one in trees or (user, one) in self._theirs:
                continue
            trees[one] = needed[one] = None
            for entry in decode_tree(self._blobs.get(one)):
                if entry.kind == "dir":
                    open_.extend(entry.digests)
                else:
                    needed.update(dict.fromkeys(entry.digests))
        return list(trees), list(needed)


def _owned(view: Snapshot, *, user: str, digests: list[str]) -> set[str]:
    return view.blobs_owned(user, digests)
