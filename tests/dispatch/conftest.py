"""The rooms below the dispatcher, as its tests use them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shorepower.store.contract import Store
from shorepower.store.memory import open_memory_store
from shorepower.testing.clock import FakeClock
from support.dispatching import Bench
from support.scripted import ScriptedCluster


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = await open_memory_store()
    yield made
    await made.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def cluster() -> ScriptedCluster:
    return ScriptedCluster()


@pytest.fixture
def bench(store: Store, cluster: ScriptedCluster, clock: FakeClock, tmp_path: Path) -> Bench:
    """A dispatcher's surroundings; `async with bench.running() as dispatcher` lives one life."""
    return Bench(store, {"fake": cluster}, clock, tmp_path / "state")
