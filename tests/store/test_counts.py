"""Counters are right after any sequence of moves, also of moves that were undone."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shorepower.model.job import Job
from shorepower.model.lifecycle import State
from shorepower.store.contract import BlobOwner, Transaction
from shorepower.store.memory import open_memory_store
from support.store_records import NOW, insert

OWNERS = ("ada", "bob", "eve")

moves = st.lists(
    st.tuples(
        st.sampled_from(["insert", "move", "move", "delete", "blob", "forget"]),
        st.integers(0, 9),
        st.sampled_from(list(State)),
        st.booleans(),
    ),
    max_size=40,
)


class World:
    """What should be there."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.blobs: dict[str, int] = {}

    def copy(self) -> World:
        other = World()
        other.jobs, other.blobs = list(self.jobs), dict(self.blobs)
        return other

    def make(self, tx: Transaction, kind: str, number: int, state: State) -> None:
        """One move, in the store and here."""
        if kind == "insert":
            self.jobs.append(insert(tx, owner=OWNERS[number % 3], state=state))
        elif kind == "blob":
            self.blobs[f"b{number}"] = number * 10
            tx.put_blob(BlobOwner(owner="ada", digest=f"b{number}", size_bytes=number * 10, used_at=NOW))
        elif kind == "forget":
            self.blobs.pop(f"b{number}", None)
            tx.forget_blobs([f"b{number}"])
        elif self.jobs:
            one = self.jobs.pop(number % len(self.jobs))
            if kind == "delete":
                tx.delete_job(one.id)
            else:
                self.jobs.append(tx.update_job(replace(one, state=state)))


async def play(asked: list[tuple[str, int, State, bool]]) -> None:
    store = await open_memory_store()
    world = World()
    for kind, number, state, undone in asked:
        if not undone:
            await store.write(lambda tx, k=kind, n=number, s=state: world.make(tx, k, n, s))
            continue
        aside = world.copy()

        def undo(
            tx: Transaction, k: str = kind, n: int = number, s: State = state, a: World = aside
        ) -> None:
            a.make(tx, k, n, s)
            raise LookupError("undone")

        with pytest.raises(LookupError):
            await store.write(undo)
    for owner in OWNERS:
        truth = Counter(one.state for one in world.jobs if one.owner == owner)
        assert await store.read(lambda view, owner=owner: view.state_counts(owner)) == truth
    assert await store.read(lambda view: view.state_counts()) == Counter(one.state for one in world.jobs)
    assert await store.read(lambda view: view.blob_bytes()) == sum(world.blobs.values())
    await store.aclose()


@settings(max_examples=40, deadline=None)
@given(moves)
def test_counters_follow_every_move(asked: list[tuple[str, int, State, bool]]) -> None:
    anyio.run(play, asked)
