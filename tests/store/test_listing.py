"""Lists of jobs say what a plain filter would say, and never walk the history to say it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shorepower.model.job import Job
from shorepower.model.lifecycle import State
from shorepower.store.contract import JobQuery, Store
from shorepower.store.sqlite.connect import MEMORY, Source
from shorepower.store.sqlite.listing import listing
from shorepower.store.sqlite.migrate import bundled, migrate
from shorepower.store.sqlite.transaction import SqlTransaction
from support.store_records import after, insert, job, spec

OWNERS, NAMES, CLUSTERS = ("ada", "bob"), ("a", "b", "it's"), ("local", "hpc")
TAGS = ("red", "blue")


@cache
def world() -> tuple[SqlTransaction, list[tuple[int, Job]]]:
    """400 jobs of all sorts, made by a clock that sometimes went back; some were deleted again."""
    connection = Source(path=MEMORY).writer()
    migrate(connection, MEMORY, bundled())
    tx, rng, made = SqlTransaction(connection), random.Random(3), []
    for number in range(1, 401):
        state = rng.choice(list(State))
        at = number + rng.choice((0, 0, 0, 0, 25, -25))
        one = job(
            owner=rng.choice(OWNERS),
            name=rng.choice(NAMES),
            cluster=rng.choice(CLUSTERS),
            state=state,
            created_at=after(at),
            ended_at=after(at + rng.randrange(60)) if state.ended else None,
            tags={key: rng.choice(TAGS) for key in ("k1", "k2") if rng.random() < 0.6},
        )
        tx.insert_job(one, spec())
        made.append((number, one))
    for _, one in made[::9]:
        tx.delete_job(one.id)
    return tx, [(number, one) for number, one in reversed(made) if (number - 1) % 9]


def fits(query: JobQuery, number: int, one: Job) -> bool:
    """The meaning of a query."""
    wants: list[bool] = [
        query.owner in (None, one.owner),
        query.name in (None, one.name),
        query.cluster in (None, one.cluster),
        not query.states or one.state in query.states,
        all(one.tags.get(key) == value for key, value in query.tags.items()),
        query.created_after is None or one.created_at > query.created_after,
        query.active_or_after is None or one.ended_at is None or one.ended_at > query.active_or_after,
        query.before is None or number < query.before,
    ]
    return all(wants)


def maybe(*values: object) -> st.SearchStrategy[object]:
    return st.none() | st.sampled_from(values)


moments: st.SearchStrategy[datetime | None] = st.none() | st.integers(-30, 480).map(after)
queries = st.builds(
    JobQuery,
    owner=maybe(*OWNERS, "nobody"),
    name=maybe(*NAMES, "none"),
    cluster=maybe(*CLUSTERS),
    states=st.lists(st.sampled_from(list(State)), max_size=4).map(tuple),
    tags=st.dictionaries(st.sampled_from(["k1", "k2", "k3"]), st.sampled_from(TAGS), max_size=2),
    created_after=moments,
    active_or_after=moments,
    before=st.none() | st.integers(0, 402),
    limit=st.integers(0, 20),
)


@settings(max_examples=300, deadline=None)
@given(queries)
def test_a_list_is_what_a_filter_would_leave(query: JobQuery) -> None:
    tx, made = world()
    wanted = [(number, one) for number, one in made if fits(query, number, one)]
    assert tx.jobs(query) == wanted[: query.limit]


@settings(max_examples=30, deadline=None)
@given(queries, st.integers(1, 30))
def test_pages_together_are_the_whole_list(query: JobQuery, size: int) -> None:
    tx, made = world()
    whole: list[tuple[int, Job]] = []
    before = query.before
    while page := tx.jobs(replace(query, before=before, limit=size)):
        assert len(page) <= size
        whole += page
        before = page[-1][0]
    assert whole == [(number, one) for number, one in made if fits(query, number, one)]


def _owned() -> Iterator[JobQuery]:
    yield JobQuery(owner="ada")
    yield JobQuery(owner="ada", before=7, created_after=after(1))
    yield JobQuery(owner="ada", states=(State.FAILED, State.RUNNING))
    yield JobQuery(owner="ada", name="a", states=(State.FAILED,))
    yield JobQuery(owner="ada", cluster="hpc")
    yield JobQuery(owner="ada", tags={"k1": "red", "k2": "blue"}, states=(State.FAILED,))
    yield JobQuery(owner="ada", active_or_after=after(1), name="a", tags={"k1": "red"})
    yield JobQuery(states=(State.PENDING, State.RUNNING))
    yield JobQuery(active_or_after=after(1))


def plan(tx: SqlTransaction, query: JobQuery) -> list[str]:
    statement, params = listing(query)
    return [row[3] for row in tx._run(f"EXPLAIN QUERY PLAN {statement}", params)]


@pytest.mark.parametrize("query", list(_owned()), ids=str)
def test_no_list_walks_the_history(query: JobQuery) -> None:
    told = plan(world()[0], query)
    assert [line for line in told if line.startswith(("SCAN j", "SCAN t", "SCAN c", "SCAN r"))] == []
    walks = [line for line in told if "SEARCH j USING" in line or "SEARCH t USING" in line]
    assert any("_owner" in line or "active" in line or "ended" in line or "tags" in line for line in walks)


@pytest.mark.parametrize(
    "change", [lambda tx, one: tx.delete_job(one.id), lambda tx, one: insert(tx)], ids=["deleted", "new"]
)
@pytest.mark.anyio
async def test_pages_go_on_while_jobs_come_and_go(
    store: Store, change: Callable[[SqlTransaction, Job], object]
) -> None:
    made = [await store.write(insert) for _ in range(4)]
    first = await store.read(lambda view: view.jobs(JobQuery(owner="ada", limit=2)))
    await store.write(lambda tx: change(tx, first[-1][1]))
    rest = await store.read(lambda view: view.jobs(JobQuery(owner="ada", before=first[-1][0])))
    assert [one.id for _, one in first + rest] == [one.id for one in reversed(made)]
