"""Indices and positions; what is wrong with an array."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.array import ArraySpec, Numbering, Range, parse_indices, ranges_of
from shorepower.model.check import check
from shorepower.model.cluster import ClusterInfo
from shorepower.model.job import JobSpec
from shorepower.model.payload import Payload

_INDICES = st.sets(st.integers(0, 60), min_size=1)


@given(_INDICES, _INDICES)
def test_a_numbering_finds_its_way_both_ways(indices, wanted):
    rising = sorted(indices)
    numbering = Numbering(ranges_of(indices))
    assert numbering.count == len(rising)
    assert [numbering.index(position) for position in range(len(rising))] == rising
    found = numbering.positions(ranges_of(wanted))
    assert [numbering.index(position) for position in found] == sorted(indices & wanted)


@given(
    st.lists(st.builds(Range, st.integers(0, 30), st.just(60), st.integers(1, 9)), min_size=1, max_size=3)
)
def test_steps_meet_steps(wanted):
    wanted = [
        Range(one.first, one.first + (60 - one.first) // one.step * one.step, one.step) for one in wanted
    ]
    numbering = Numbering((Range(1, 58, 3), Range(59, 59)))
    named = {index for one in wanted for index in range(one.first, one.last + 1, one.step)}
    found = {numbering.index(position) for position in numbering.positions(wanted)}
    assert found == named & {*range(1, 59, 3), 59}


def test_there_is_no_task_beyond_the_last():
    numbering = Numbering((Range(5, 9),))
    for position in (-1, 5):
        with pytest.raises(IndexError):
            numbering.index(position)


def faults_of(array, **more):
    spec = JobSpec(name="sweep", argv=("true",), array=array, **more)
    return {
        fault.field: fault.message for fault in check(spec, {"local": ClusterInfo(name="local", type="x")})
    }


def test_an_array_that_can_run():
    grid = {"lr": ("0.1", "0.01"), "depth": ("2", "4")}
    assert not faults_of(ArraySpec(ranges=(Range(0, 3),), max_parallel=2, grid=grid))
    assert not faults_of(ArraySpec(ranges=(Range(0, 999_999),)))
    assert not faults_of(ArraySpec(ranges=(Range(7, 7),), rows=("sha256:00",), row_count=8))
    assert not faults_of(ArraySpec(ranges=parse_indices("1-100:2,500")[0]))


@pytest.mark.parametrize(
    "ranges",
    [
        (),
        (Range(0, 9, 0),),
        (Range(9, 0),),
        (Range(0, 9, 2),),
        (Range(-1, 3),),
        (Range(0, 1 << 31),),
        (Range(0, 5), Range(5, 9)),
        (Range(5, 9), Range(0, 1)),
        (Range(0, 1_000_000),),
    ],
)
def test_ranges_that_are_none(ranges):
    assert "array.ranges" in faults_of(ArraySpec(ranges=ranges))


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("array.max_parallel", {"max_parallel": 0}),
        ("array.grid.PATH", {"grid": {"PATH": ("/tmp",) * 9}}),
        ("array.grid.LD_PRELOAD", {"grid": {"LD_PRELOAD": ("x",) * 9}}),
        ("array.grid.SHOREPOWER_JOB_ID", {"grid": {"SHOREPOWER_JOB_ID": ("x",) * 9}}),
        ("array.grid.a-b", {"grid": {"a-b": ("x",) * 9}}),
        ("array.grid.lr", {"grid": {"lr": ()}}),
        ("array.grid.lr", {"grid": {"lr": ("1", "")}}),
        ("array.grid.lr", {"grid": {"lr": ("\0",) * 9}}),
        ("array.grid.lr", {"grid": {"lr": ("\udc80",) * 9}}),
        ("array.ranges", {"grid": {"lr": ("1", "2")}}),
        ("array.ranges", {"rows": ("sha256:00",), "row_count": 3}),
        ("array.row_count", {"rows": ("sha256:00",)}),
        ("array.row_count", {"row_count": 9}),
        ("array", {"grid": {"lr": ("1",) * 9}, "rows": ("sha256:00",), "row_count": 9}),
    ],
)
def test_each_fault_is_told(field, changes):
    assert field in faults_of(ArraySpec(ranges=(Range(0, 4),), **changes))


def test_an_input_and_parameters_exclude_each_other():
    array = ArraySpec(ranges=(Range(0, 0),), grid={"lr": ("1",)})
    assert "input" in faults_of(array, input=Payload(inline=b"x"))
    assert "input.inline" in faults_of(None, input=Payload(inline=b"x" * 70_000))
    assert not faults_of(ArraySpec(ranges=(Range(0, 0),)), input=Payload(inline=b"x"))
