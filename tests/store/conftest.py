"""The same store in the three ways it is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shorepower.store.memory import open_memory_store
from shorepower.store.sqlite import SqliteStore, open_store


@pytest.fixture(params=["file", "exclusive", "memory"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[SqliteStore]:
    if request.param == "memory":
        opened = await open_memory_store()
    else:
        opened = await open_store(tmp_path / "store.db", exclusive=request.param == "exclusive")
    yield opened
    await opened.aclose()


@pytest.fixture
async def memory(anyio_backend: str) -> AsyncIterator[SqliteStore]:
    """For what does not depend on the way it is opened."""
    opened = await open_memory_store()
    yield opened
    await opened.aclose()
