"""The one function that moves an attempt, under news that is lost, repeated and out of order."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.lifecycle import (
    ENDED,
    Attempt,
    Observation,
    Reason,
    State,
    advance,
    combine,
    exit_status,
)

JOB = "abcdefghijkl"
SUB = f"{JOB}-1"


def fresh() -> Attempt:
    return Attempt(job=JOB, submission=SUB)


def saw(state: State, as_of: float, *, restart: int = 0, source: str = "a", **more) -> Observation:
    return Observation(submission=SUB, state=state, as_of=as_of, restart=restart, source=source, **more)


observations = st.builds(
    saw,
    st.sampled_from(list(State)),
    st.floats(0, 10, allow_nan=False),
    restart=st.integers(0, 2),
    source=st.sampled_from(["a", "b"]),
)


@given(st.lists(observations, max_size=20))
def test_an_ended_attempt_never_changes(news):
    attempt = fresh()
    for one in news:
        before = attempt
        attempt = advance(attempt, one)
        if before.state.ended:
            assert attempt is before
        assert attempt.restart >= before.restart


@given(st.lists(observations, max_size=20))
def test_repeating_everything_changes_nothing(news):
    attempt = fresh()
    for one in news:
        attempt = advance(attempt, one)
    again = attempt
    for one in news:
        if not attempt.state.ended and one.state.ended and one.restart >= attempt.restart:
            pytest.fail("an end of this restart was not taken the first time")
        told = advance(again, one)
        if not one.state.ended and (one.restart, one.as_of) <= again.seen.get(one.source, (-1, 0.0)):
            assert told is again
        again = told
        if again.state.ended:
            break


def test_the_end_is_taken_even_when_it_is_older_than_what_was_seen_last():
    running = advance(fresh(), saw(State.RUNNING, 9.0))
    ended = advance(running, saw(State.COMPLETED, 1.0, exit_code=0))
    assert ended.state is State.COMPLETED


def test_a_late_listing_does_not_take_a_running_attempt_back_to_waiting():
    running = advance(fresh(), saw(State.RUNNING, 1.0, source="wrapper"))
    assert advance(running, saw(State.PENDING, 5.0, source="squeue")) is running


def test_a_requeue_waits_again():
    running = advance(fresh(), saw(State.RUNNING, 1.0))
    again = advance(running, saw(State.PENDING, 2.0, restart=1))
    assert (again.state, again.restart) == (State.PENDING, 1)


def test_the_end_of_an_earlier_restart_is_not_the_end():
    again = advance(advance(fresh(), saw(State.RUNNING, 1.0)), saw(State.RUNNING, 2.0, restart=1))
    assert advance(again, saw(State.FAILED, 3.0, restart=0)) is again


def test_a_changed_reason_is_news():
    waiting = advance(fresh(), saw(State.PENDING, 1.0, reason=Reason.QUEUED))
    told = advance(waiting, saw(State.PENDING, 2.0, reason=Reason.RESOURCES))
    assert told.reason is Reason.RESOURCES


def test_the_same_again_is_no_news():
    waiting = advance(fresh(), saw(State.PENDING, 1.0, reason=Reason.QUEUED, why="1 ahead"))
    assert advance(waiting, saw(State.PENDING, 2.0, reason=Reason.QUEUED, why="1 ahead")) is waiting


def test_start_and_host_stay_known_at_the_end():
    at = datetime(2026, 1, 1, tzinfo=UTC)
    running = advance(fresh(), saw(State.RUNNING, 1.0, host="n1", started_at=at))
    ended = advance(running, saw(State.FAILED, 2.0))
    assert (ended.host, ended.started_at) == ("n1", at)


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({State.PENDING: 3}, State.PENDING),
        ({State.PENDING: 2, State.COMPLETED: 1}, State.RUNNING),
        ({State.RUNNING: 1, State.FAILED: 2}, State.RUNNING),
        ({State.SUSPENDED: 1, State.PENDING: 2}, State.SUSPENDED),
        ({State.COMPLETED: 2, State.FAILED: 1, State.CANCELED: 1}, State.FAILED),
        ({State.COMPLETED: 2, State.CANCELED: 1}, State.CANCELED),
        ({State.COMPLETED: 2}, State.COMPLETED),
    ],
)
def test_combining_tasks(counts, state):
    assert combine(counts) is state


@pytest.mark.parametrize(
    ("state", "reason", "code", "signal", "status"),
    [
        (State.COMPLETED, None, 0, None, 0),
        (State.FAILED, Reason.EXIT_CODE, 3, None, 3),
        (State.FAILED, Reason.SIGNAL, None, 11, 139),
        (State.FAILED, Reason.OUT_OF_MEMORY, None, 9, 137),
        (State.FAILED, Reason.TIME_LIMIT, None, 15, 124),
        (State.CANCELED, Reason.STOPPED, None, 15, 143),
        (State.CANCELED, Reason.KILLED, None, 9, 137),
        (State.FAILED, Reason.LOST, None, None, 120),
        (State.CANCELED, Reason.DEPENDENCY, None, None, 120),
    ],
)
def test_exit_status(state, reason, code, signal, status):
    assert exit_status(state, reason, code, signal) == status


def test_every_ended_state_is_one_of_three():
    assert {state for state in State if state.ended} == ENDED == {"COMPLETED", "FAILED", "CANCELED"}
