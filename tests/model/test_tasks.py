"""Sets of tasks as spans, against plain sets."""

from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.tasks import TaskSet

_SETS = st.sets(st.integers(0, 40))


@given(_SETS, _SETS)
def test_they_are_sets(one, other):
    a, b = TaskSet.of(one), TaskSet.of(other)
    assert set(a) == one
    assert list(a | b) == sorted(one | other)
    assert list(a & b) == sorted(one & other)
    assert list(a - b) == sorted(one - other)
    assert len(a) == len(one)
    assert all((position in a) == (position in one) for position in range(-1, 42))


@given(_SETS, _SETS)
def test_the_spans_are_the_smallest_there_are(one, other):
    for found in (TaskSet.of(one) | TaskSet.of(other), TaskSet.of(one) & TaskSet.of(other)):
        assert found == TaskSet.of(found)
    assert TaskSet.of(one) - TaskSet.of(other) == TaskSet.of(one - other)


@given(_SETS, st.integers(-2, 42), st.integers(-2, 42))
def test_what_lies_within_and_what_is_missing(one, start, stop):
    tasks = TaskSet.of(one)
    within = [position for first, end in tasks.within(start, stop) for position in range(first, end)]
    missing = [position for first, end in tasks.outside(start, stop) for position in range(first, end)]
    assert within == [position for position in range(start, stop) if position in one]
    assert missing == [position for position in range(start, stop) if position not in one]


def test_a_million_is_one_span():
    every = TaskSet.first(1_000_000)
    assert (every - TaskSet.of([3, 4])).spans == ((0, 3), (5, 1_000_000))
    assert 999_999 in every
    assert 1_000_000 not in every
