"""What came out of a submission, and what goes once that is on record. Blocking."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace

from ..files.blobs import BlobLost, BlobStore
from ..files.collect import Listing, list_changes, list_tasks
from ..files.mirror import indices_in
from ..files.remove import remove, trim
from ..files.shared import changes_in
from ..model.job import JobSpec
from ..model.names import quoted
from .tasks import mirror_of

__all__ = ["Named", "list_results", "tidy"]

Named = Mapping[int, Sequence[str]]
"""Paths of what is listed in any case, by index; a plain job is 0."""
_NAMED_CHANGES = 5


def list_results(blobs: BlobStore, spec: JobSpec, work: Path, named: Named, *, digests: bool) -> Listing:
    """Of a running job, or with ``digests`` at its end; then it is also told when tasks wrote into the tree
    that they share. Raises as `list_changes`."""
    raw = {index: [os.fsencode(path) for path in paths] for index, paths in named.items()}
    if spec.array is None:
        return list_changes(
            blobs,
            None if spec.in_place else spec.tree,
            work,
            links=spec.links,
            results=spec.results,
            hold_back=spec.hold_back,
            named=raw.get(0, ()),
            digests=digests,
        )
    found = list_tasks(
        blobs,
        work,
        mirror_of(spec, work),
        results=spec.results,
        hold_back=spec.hold_back,
        named=raw,
        digests=digests,
    )
    return replace(found, notes=_changed(blobs, spec, work)) if digests else found


def _changed(blobs: BlobStore, spec: JobSpec, work: Path) -> tuple[str, ...]:
    if spec.tree is None or spec.in_place:
        return ()
    try:
        found = changes_in(blobs, spec.tree, work / "project", links=spec.links, limit=_NAMED_CHANGES + 1)
    except BlobLost:
        return ()  # the snapshot is gone, but what the tasks wrote is not
    told = tuple(f"tasks changed the shared file {quoted(path)}" for path in found[:_NAMED_CHANGES])
    return (*told, "and others") if len(found) > _NAMED_CHANGES else told


def tidy(blobs: BlobStore, spec: JobSpec, work: Path, out: Listing) -> None:
    """After everything was listed: the inputs that did not change go, and what tasks did not write.

    Twice is harmless. Raises StorageFault, BlobLost, OSError.
    """
    if spec.array is not None:
        mirror = mirror_of(spec, work)
        for index in indices_in(work / "tasks"):
            mirror.clear(index)
        if not out.notes:  # nobody changed the shared tree: nothing in it is anybody's result
            remove(work / "project")
            return
    if spec.tree is not None:
        trim(blobs, spec.tree, work, links=spec.links)
