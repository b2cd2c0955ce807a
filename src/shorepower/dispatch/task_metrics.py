"""What tasks of arrays wrote of themselves, read when they have ended or somebody looks at them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from anyio import CapacityLimiter, to_thread

from ..model.array import Numbering
from ..model.lifecycle import Observation
from ..store.contract import Snapshot, Store
from .fold_tasks import TaskMetrics, has_figures
from .metrics import Metrics, read_metrics
from .places import Places

__all__ = ["MetricsReader", "metrics_file"]

_REMEMBERED = 256
"""Arrays whose numbering is kept in memory."""


def metrics_file(places: Places, submission: str, index: int) -> Path:
    """What ``SHOREPOWER_METRICS`` of a task names."""
    return places.work(submission) / "metrics" / str(index)


class MetricsReader:
    """Of the tasks that one batch of news says have ended."""

    def __init__(self, store: Store, places: Places) -> None:
        self._store, self._places = store, places
        self._numberings: OrderedDict[str, Numbering] = OrderedDict()
        self._disk = CapacityLimiter(1)

    async def read(self, news: Iterable[Observation]) -> TaskMetrics:
        """JSON by (submission, position); only of those that wrote any."""
        ended = [seen for seen in news if seen.state.ended and has_figures(seen)]
        if not ended:
            return {}
        await self._learn({seen.submission for seen in ended})
        return await to_thread.run_sync(self._read, ended, limiter=self._disk)

    async def _learn(self, submissions: set[str]) -> None:
        if new := sorted(submissions - self._numberings.keys()):
            self._numberings.update(await self._store.read(lambda view: _numberings(view, new)))
        for name in submissions & self._numberings.keys():
            self._numberings.move_to_end(name)
        while len(self._numberings) > max(_REMEMBERED, len(submissions)):
            self._numberings.popitem(last=False)

    def _read(self, ended: Sequence[Observation]) -> TaskMetrics:
        found = {}
        for seen in ended:
            numbering = self._numberings.get(seen.submission)
            for position in seen.tasks if numbering is not None else ():
                if numbering is None or not 0 <= position < numbering.count:
                    continue
                path = metrics_file(self._places, seen.submission, numbering.index(position))
                if metrics := read_metrics(path):
                    found[seen.submission, position] = encode(metrics)
        return found


def encode(metrics: Metrics) -> bytes:
    """The stored form."""
    return msgspec.json.encode(metrics)


def _numberings(view: Snapshot, names: Sequence[str]) -> dict[str, Numbering]:
    found = {}
    for name in names:
        submission = view.submission(name)
        spec = view.spec(submission.job) if submission is not None else None
        if spec is not None and spec.array is not None:
            found[name] = Numbering(spec.array.ranges)
    return found
