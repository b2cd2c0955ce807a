"""The rooms below the dispatcher, as its tests use them."""

from collections.abc import AsyncIterator

import pytest

from shorepower.store.contract import Store
from shorepower.store.memory import open_memory_store


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = await open_memory_store()
    yield made
    await made.aclose()
