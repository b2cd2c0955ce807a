"""Many calls of a function that does nothing: items a second, values in hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from peers import dask_client
from place import ABSENT, CPUS, Row, at_size, in_turns, nothing, nothing_by_value, place

ITEMS, ROUNDS = at_size(10_000), at_size(3, 1)
OURS = "`client.map`"


def measure() -> Iterator[Row]:
    """Our processes start within the time taken; those of the peers stand ready before it."""
    items = list(range(ITEMS))
    with place() as here, ExitStack() as opened:
        opened.enter_context(here.inside(here.folder("project")))
        # the pool's processes are forked now, while this process has one thread
        pool = opened.enter_context(ProcessPoolExecutor(CPUS))
        pool.submit(nothing).result()
        from shorepower import Client

        client, function = opened.enter_context(Client()), nothing_by_value()
        acts: dict[str, Callable[[], object]] = {
            OURS: lambda: _whole(client.map(function, items)),
            "`ProcessPoolExecutor.map`, chunksize 1": lambda: _whole(pool.map(nothing, items)),
            "`ProcessPoolExecutor.map`, chunksize 100": lambda: _whole(
                pool.map(nothing, items, chunksize=100)
            ),
        }
        dask = opened.enter_context(dask_client(here.root))
        if dask is not None:
            acts["Dask distributed, `map` and `gather`"] = lambda: _whole(
                dask.gather(dask.map(function, items, pure=False))
            )
        taken = in_turns(ROUNDS, *acts.values(), settle=lambda: client.wait("@-1"))
    rates = {name: ITEMS / took for name, took in zip(acts, taken, strict=True)}
    ours, what = rates.pop(OURS), f"{OURS} of {ITEMS:,} items that do nothing"
    for name, peer in rates.items():
        yield Row(what, f"{ours:,.0f}/s", f"{name} {peer:,.0f}/s", f"{ours / peer:.2f}", "≥ 5,000/s")
    if dask is None:
        yield Row(what, f"{ours:,.0f}/s", f"Dask distributed {ABSENT}", "", "≥ 5,000/s")


def _whole(values: Iterable[object]) -> None:
    assert list(values) == list(range(ITEMS)), "values are missing, or not in order"
