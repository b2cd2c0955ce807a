"""What the server keeps on disk for a caller."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from anyio import to_thread
from msgspec import Struct

from ..files.remove import size_on_disk
from ..model.caller import Caller
from ..store.contract import Snapshot, Store
from .places import Places

__all__ = ["Footprint", "footprint_of", "spooled"]


class Footprint(Struct, frozen=True, kw_only=True):
    """What the server keeps on disk for a caller."""

    blobs_bytes: int
    results_bytes: int
    output_bytes: int = 0
    """What jobs wrote to standard output and error, with the records of their lives."""
    free_bytes: int
    budget_bytes: int
    job_count: int


async def footprint_of(store: Store, places: Places, caller: Caller, budget_bytes: int) -> Footprint:
    """The caller's own; blobs are everybody's."""
    sizes = await to_thread.run_sync(spooled, places.spool, {})
    disk = await to_thread.run_sync(shutil.disk_usage, places.state_dir)
    kept = await store.read(lambda view: view.with_results(caller.user))
    return Footprint(
        blobs_bytes=await store.read(lambda view: view.blob_bytes()),
        results_bytes=sum(job.results.size_bytes for job in kept),
        output_bytes=await store.read(partial(_own, sizes=sizes, owner=caller.user)),
        free_bytes=disk.free,
        budget_bytes=budget_bytes,
        job_count=sum((await store.read(lambda view: view.state_counts(caller.user))).values()),
    )


def spooled(folder: Path, known: Mapping[str, int]) -> dict[str, int]:
    """Bytes on disk of each submission's folder, holes not counted; what is ``known`` is not looked at."""
    try:
        return {
            path.name: known[path.name] if path.name in known else size_on_disk(path)
            for path in folder.iterdir()
        }
    except FileNotFoundError:
        return {}


def _own(view: Snapshot, *, sizes: Mapping[str, int], owner: str) -> int:
    total = 0
    for submission, size in sizes.items():
        job = view.job(submission.rpartition("-")[0])
        if job is not None and job.owner == owner:
            total += size
    return total
