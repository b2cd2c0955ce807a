"""Where tasks stand, packed."""

import math

from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.chunks import (
    BLOCK,
    ENDED_LETTERS,
    Figures,
    empty_block,
    letter_of,
    letters_of,
    meaning_of,
    read_figures,
    restarted,
    runs_of,
    tally,
    write_figures,
)
from shorepower.model.lifecycle import Reason, State

_NUMBERS = st.one_of(st.none(), st.floats(0, 60_000, width=16))


@given(
    st.builds(
        Figures,
        exit_code=st.one_of(st.none(), st.integers(0, 255)),
        signal=st.one_of(st.none(), st.integers(1, 64)),
        restart=st.integers(0, 65_535),
        attempt=st.integers(1, 255),
        started_at=st.one_of(st.none(), st.integers(0, 1 << 50).map(lambda micros: micros / 1e6)),
        seen_at=st.floats(allow_nan=False),
        seen_by=st.integers(0, (1 << 32) - 1),
        wall_time_s=_NUMBERS,
        cpu_time_s=_NUMBERS,
        peak_memory_mib=_NUMBERS,
    ),
    st.integers(0, BLOCK - 1),
)
def test_figures_come_back_and_touch_no_others(figures, at):
    block = empty_block()
    write_figures(block, at, figures)
    found = read_figures(block, at)
    for name in ("exit_code", "signal", "restart", "attempt", "started_at", "seen_at", "seen_by"):
        assert getattr(found, name) == getattr(figures, name)
    for name in ("wall_time_s", "cpu_time_s", "peak_memory_mib"):
        told, asked = getattr(found, name), getattr(figures, name)
        assert told == asked or math.isclose(told, asked, rel_tol=1e-5)
    assert restarted(block) == (figures.restart > 0)
    assert all(read_figures(block, other) == Figures() for other in range(BLOCK) if other != at)


def test_a_short_figure_has_no_digits_of_its_own():
    block = empty_block()
    write_figures(block, 3, Figures(wall_time_s=0.01))
    assert read_figures(block, 3).wall_time_s == 0.01


def test_figures_beyond_their_room_are_the_largest_there_are():
    block = empty_block()
    write_figures(block, 0, Figures(exit_code=1 << 20, signal=999, attempt=999, restart=1 << 20))
    found = read_figures(block, 0)
    assert (found.exit_code, found.signal, found.attempt, found.restart) == (32_767, 255, 255, 65_535)


def test_every_state_and_every_reason_of_an_end_has_a_letter_of_its_own():
    ends = {
        State.FAILED: list(Reason)[6:15],
        State.CANCELED: list(Reason)[15:],
    }
    assert (ends[State.FAILED][0], ends[State.CANCELED][0]) == (Reason.EXIT_CODE, Reason.STOPPED)
    told = [(state, reason) for state, reasons in ends.items() for reason in reasons]
    told += [(state, None) for state in State]
    letters = {letter_of(*meaning) for meaning in told}
    assert len(letters) == len(told)
    assert all(meaning_of(letter_of(*meaning)) == meaning for meaning in told)
    assert {letter for letter in letters if meaning_of(letter)[0].ended} == ENDED_LETTERS


def test_letters_never_change_their_meaning():
    """They are stored."""
    assert bytes(letter_of(state, None) for state in State) == b"PRSCfx"
    failed = (Reason.EXIT_CODE, Reason.SIGNAL, Reason.OUT_OF_MEMORY, Reason.TIME_LIMIT, Reason.NODE_LOST)
    failed += (Reason.PREEMPTED, Reason.LAUNCH, Reason.LOST, Reason.ABANDONED)
    assert bytes(letter_of(State.FAILED, reason) for reason in failed) == b"FGMTNELOA"
    canceled = (Reason.STOPPED, Reason.KILLED, Reason.DEPENDENCY)
    assert bytes(letter_of(State.CANCELED, reason) for reason in canceled) == b"XKD"


def test_runs_and_tallies():
    letters = b"PPRFFPCXG"
    assert list(runs_of(letters, letters_of([State.FAILED]))) == [(3, 5), (8, 9)]
    assert list(runs_of(letters, letters_of([State.PENDING, State.RUNNING]))) == [(0, 3), (5, 6)]
    assert tally(letters) == {code: letters.count(code) for code in set(letters)}
