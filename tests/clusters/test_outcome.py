from datetime import UTC, datetime

import pytest

from shorepower.clusters.local.outcome import end_of, without_record
from shorepower.clusters.records import Exit, Fence, Launch, Note
from shorepower.clusters.spool import Evidence
from shorepower.model.lifecycle import Reason, State, exit_status

AT = datetime(2026, 3, 4, tzinfo=UTC)


def ended(code, up_cs=100, launch=Launch.NOTHING):
    return Exit(pid=1, start_time=1, code=code, launch=launch, began_at=AT, at=AT, up_cs=up_cs)


def note(cause, up_cs):
    return Note(cause=cause, at=AT, up_cs=up_cs)


@pytest.mark.parametrize(
    ("code", "state", "reason", "number"),
    [
        (0, State.COMPLETED, None, None),
        (1, State.FAILED, Reason.EXIT_CODE, None),
        (127, State.FAILED, Reason.EXIT_CODE, None),
        (128, State.FAILED, Reason.EXIT_CODE, None),
        (137, State.FAILED, Reason.SIGNAL, 9),
        (143, State.FAILED, Reason.SIGNAL, 15),
        (192, State.FAILED, Reason.SIGNAL, 64),
        (255, State.FAILED, Reason.EXIT_CODE, None),
    ],
)
def test_codes_and_signals(code, state, reason, number):
    end = end_of(ended(code), None)
    assert (end.state, end.reason, end.signal, end.exit_code) == (state, reason, number, code)
    assert exit_status(end.state, end.reason, end.exit_code, end.signal) == code


@pytest.mark.parametrize(
    ("cause", "state", "status"),
    [
        (Reason.STOPPED, State.CANCELED, 143),
        (Reason.KILLED, State.CANCELED, 137),
        (Reason.TIME_LIMIT, State.FAILED, 124),
    ],
)
def test_what_ended_it_from_outside_counts_more_than_its_code(cause, state, status):
    for code in (0, 3, 143):
        end = end_of(ended(code, up_cs=100), note(cause, up_cs=99))
        assert (end.state, end.reason, end.exit_code) == (state, cause, code)
        assert exit_status(end.state, end.reason, end.exit_code, end.signal) == status


def test_what_ended_before_the_first_signal_ended_by_itself():
    assert end_of(ended(0, up_cs=98), note(Reason.STOPPED, up_cs=99)).state is State.COMPLETED
    assert end_of(ended(0, up_cs=99), note(Reason.STOPPED, up_cs=99)).state is State.COMPLETED
    assert end_of(ended(3, up_cs=99), note(Reason.KILLED, up_cs=99)).reason is Reason.EXIT_CODE
    assert end_of(ended(0, up_cs=100), note(Reason.STOPPED, up_cs=99)).state is State.CANCELED


def test_out_of_memory_needs_evidence():
    assert end_of(ended(137), None, out_of_memory=True).reason is Reason.OUT_OF_MEMORY
    assert end_of(ended(137), None).reason is Reason.SIGNAL
    assert end_of(ended(1), None, out_of_memory=True).reason is Reason.EXIT_CODE


@pytest.mark.parametrize("launch", [launch for launch in Launch if launch is not Launch.NOTHING])
def test_a_program_that_did_not_start(launch):
    end = end_of(ended(127, launch=launch), None)
    assert (end.state, end.reason) == (State.FAILED, Reason.LAUNCH)
    assert end.why


def fence():
    return Fence(submission="a-1", pid=1, start_time=1, boot="b", at=AT)


@pytest.mark.parametrize(
    ("seen", "same_boot", "reason"),
    [
        (Evidence(fenced=True, fence=fence(), reserved=True), True, Reason.LOST),
        (Evidence(fenced=True, fence=fence()), True, Reason.LAUNCH),
        (Evidence(fenced=True), True, Reason.LAUNCH),
        (Evidence(), True, Reason.LAUNCH),
        (Evidence(fenced=True, fence=fence(), reserved=True), False, Reason.NODE_LOST),
        (Evidence(fenced=True), False, Reason.NODE_LOST),
    ],
)
def test_without_an_exit_record(seen, same_boot, reason):
    end = without_record(seen, AT, same_boot=same_boot)
    assert (end.state, end.reason, end.ended_at) == (State.FAILED, reason, AT)
    assert end.why


def test_a_killed_wrapper_of_a_stopped_job_is_a_stopped_job():
    seen = Evidence(fenced=True, fence=fence(), reserved=True, note=note(Reason.STOPPED, 1))
    end = without_record(seen, AT, same_boot=True)
    assert (end.state, end.reason, end.exit_code) == (State.CANCELED, Reason.STOPPED, None)
