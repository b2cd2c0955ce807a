"""An array that is laid out for real: what its tests share."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from shorepower.clusters.contract import Order
from shorepower.dispatch.orders import order_of
from shorepower.dispatch.places import Places
from shorepower.dispatch.prepare import prepare
from shorepower.model.array import ArraySpec, parse_indices
from shorepower.model.job import JobSpec, Submission
from shorepower.model.tasks import TaskSet
from shorepower.model.tree import digest_of
from support.dispatching import a_job, a_spec
from support.trees import Server, send_project

__all__ = ["Laid", "an_array", "table"]


def an_array(indices: str = "0-2", **more: Any) -> ArraySpec:
    """The array of some indices."""
    ranges, at_once = parse_indices(indices)
    return ArraySpec(ranges=ranges, max_parallel=at_once, **more)


class Laid:
    """An array, laid out below a folder of a test; nothing runs."""

    def __init__(
        self,
        root: Path,
        array: ArraySpec | None,
        files: dict[str, str] | None = None,
        *,
        blobs: Iterable[bytes] = (),
        **more: Any,
    ) -> None:
        self.server = Server(root / "blobs")
        self.server.blobs.put([(digest_of(blob), blob) for blob in blobs])
        source = root / "source"
        source.mkdir()
        for name, text in (files or {}).items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        tree = send_project(source, self.server, root / "cache").tree if files is not None else None
        told: dict[str, Any] = {"in_place": False, "workdir": "", "array": array, "tree": tree}
        self.spec: JobSpec = a_spec(**(told | more))
        self.job = a_job(self.spec)
        self.tasks = TaskSet.first(array.count if array is not None else 1)
        self.submission = Submission(
            id=f"{self.job.id}-1", job=self.job.id, cluster="fake", tasks=self.tasks
        )
        self.places = Places(state_dir=root / "state")
        self.work = self.places.work(self.submission.id)
        self.order: Order = order_of(self.job, self.spec, self.submission, self.places)

    def prepare(self) -> Laid:
        """Lay it out."""
        prepare(self.server.blobs, self.spec, self.work)
        return self


def table(rows: Iterable[object], pieces: int = 1) -> list[bytes]:
    """A table of rows, as so many blobs cut anywhere."""
    data = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    cuts = [len(data) * at // pieces for at in range(pieces + 1)]
    return [data[start:end] for start, end in pairwise(cuts)]
