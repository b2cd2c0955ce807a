"""What goes first when too much is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shorepower.files.budget import Choice, Kept, budget_of, choose

DAY = timedelta(days=1)
NOW = datetime(2030, 1, 31, tzinfo=UTC)


def kept(job: str, size: int, *, ended: int, pulled: int | None = None, **more: object) -> Kept:
    return Kept(
        job=job,
        size_bytes=size,
        ended_at=NOW - ended * DAY,
        pulled_at=None if pulled is None else NOW - pulled * DAY,
        **more,  # type: ignore[arg-type]
    )


def over(some: list[Kept], budget: int, unheld: int = 0, held: int = 0) -> Choice:
    return choose(
        some, unheld_blobs_bytes=unheld, held_blobs_bytes=held, budget_bytes=budget, warned_before=NOW - DAY
    )


def test_the_budget_is_the_smaller_of_both() -> None:
    assert budget_of(100_000_000_000) == 10_000_000_000
    assert budget_of(1_000_000_000_000) == 20_000_000_000


def test_below_the_budget_nothing_goes() -> None:
    assert over([kept("a", 50, ended=9, pulled=9)], 100, unheld=50) == Choice()


def test_blobs_that_only_save_time_go_first() -> None:
    assert over([kept("a", 60, ended=9, pulled=9)], 100, unheld=50) == Choice(blobs_bytes=10)


def test_then_results_the_longest_pulled_first() -> None:
    some = [kept("a", 40, ended=30, pulled=1), kept("b", 40, ended=5, pulled=5), kept("c", 40, ended=9)]
    assert over(some, 100) == Choice(drop=("b",))
    assert over(some, 50) == Choice(drop=("b", "a"))


def test_then_the_oldest_output_before_what_nobody_pulled() -> None:
    some = [kept("pulled", 10, ended=9, pulled=9), kept("unpulled", 60, ended=9)]
    said = [kept("new", 40, ended=1), kept("old", 40, ended=5), kept("silent", 0, ended=9)]
    choice = choose(
        some, said, unheld_blobs_bytes=0, held_blobs_bytes=0, budget_bytes=105, warned_before=NOW - DAY
    )
    assert choice == Choice(drop=("pulled",), drop_output=("old",))
    choice = choose(
        some, said, unheld_blobs_bytes=0, held_blobs_bytes=0, budget_bytes=50, warned_before=NOW - DAY
    )
    assert choice == Choice(drop=("pulled",), drop_output=("old", "new"), warn=("unpulled",), over_bytes=10)


def test_what_nobody_pulled_is_warned_of_and_kept() -> None:
    some = [kept("old", 60, ended=20), kept("new", 60, ended=2), kept("pulled", 10, ended=1, pulled=1)]
    assert over(some, 60) == Choice(drop=("pulled",), warn=("old",), over_bytes=60)
    assert over(some, 1) == Choice(drop=("pulled",), warn=("old", "new"), over_bytes=119)


def test_after_the_warning_was_seen_for_long_enough_it_goes() -> None:
    seen, fresh = NOW - 2 * DAY, NOW
    some = [kept("old", 60, ended=20, warned_at=seen), kept("new", 60, ended=2, warned_at=fresh)]
    assert over(some, 60) == Choice(drop=("old",))
    assert over(some, 1) == Choice(drop=("old",), warn=("new",), over_bytes=59)


def test_what_is_kept_for_good_never_goes() -> None:
    some = [kept("a", 60, ended=20, pulled=20, for_good=True)]
    assert over(some, 10) == Choice(over_bytes=50)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50),
            st.integers(0, 9),
            st.none() | st.integers(0, 9),
            st.booleans(),
            st.booleans(),
        )
    ),
    st.integers(0, 300),
    st.integers(0, 100),
)
def test_never_more_than_needed_and_never_unwarned(
    rows: list[tuple[int, int, int | None, bool, bool]], budget: int, unheld: int
) -> None:
    some = [
        kept(
            str(n),
            size,
            ended=ended,
            pulled=pulled,
            for_good=good,
            warned_at=NOW - 3 * DAY if warned else None,
        )
        for n, (size, ended, pulled, good, warned) in enumerate(rows)
    ]
    by_job = {one.job: one for one in some}
    choice = over(some, budget, unheld)
    total = sum(one.size_bytes for one in some) + unheld
    dropped = [by_job[job] for job in choice.drop]
    assert all(not one.for_good and (one.pulled_at or one.warned_at) for one in dropped)
    after = total - choice.blobs_bytes - sum(one.size_bytes for one in dropped)
    assert max(0, after - budget) == choice.over_bytes
    if dropped:
        assert after + dropped[-1].size_bytes > budget
    assert not set(choice.drop) & set(choice.warn)
