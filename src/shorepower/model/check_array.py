"""Whether the array of a spec can run, whoever made it. Pure; it costs the same for a million tasks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from math import prod

from .array import MOST_TASKS, ArraySpec, Range
from .errors import Fault
from .job import JobSpec
from .parameters import parameter_fault
from .payload import INLINE_BYTES, Payload

__all__ = ["array_faults", "input_faults"]

_MOST_INDEX = (1 << 31) - 1
_VALUE_LIMIT_BYTES = 128 << 10  # Source: execve(2), MAX_ARG_STRLEN, one argument or variable.


def array_faults(spec: JobSpec) -> Iterable[Fault]:
    """Every fault of ``spec.array``, none without one."""
    array = spec.array
    if array is None:
        return
    faults = [*_range_faults(array.ranges)]
    yield from faults
    if not faults:
        yield from _extent_faults(array)
    if array.max_parallel is not None and array.max_parallel < 1:
        yield Fault("array.max_parallel", "at least one task runs at a time: give 1 or more")
    if array.grid and (array.rows or array.row_count):
        yield Fault("array", "a grid and rows are two sources of parameters; give one of them")
    if spec.input is not None and (array.grid or array.rows):
        yield Fault("input", "the parameters of a grid or of rows take the place of an input; give one")
    if bool(array.rows) != (array.row_count > 0):
        yield Fault("array.row_count", "rows and their count come together")
    for name, values in array.grid.items():
        yield from _grid_faults(name, values)
        if name in spec.secrets:
            yield Fault(
                f"array.grid.{name}", f"{name} is a secret already; give the parameter another name"
            )


def _range_faults(ranges: tuple[Range, ...]) -> Iterable[Fault]:
    if not ranges:
        yield Fault("array.ranges", "an array has at least one task")
    for one in ranges:
        if one.step < 1 or one.last < one.first or (one.last - one.first) % one.step:
            yield Fault("array.ranges", f"[{one.first}, {one.last}, {one.step}] is no range of indices")
            return
        if one.first < 0 or one.last > _MOST_INDEX:
            yield Fault("array.ranges", f"an index is between 0 and {_MOST_INDEX}")
            return
    if any(after.first <= before.last for before, after in pairwise(ranges)):
        yield Fault("array.ranges", "ranges of indices rise and do not overlap")


def _extent_faults(array: ArraySpec) -> Iterable[Fault]:
    if array.count > MOST_TASKS:
        yield Fault("array.ranges", f"{array.count:,} tasks; one job has at most {MOST_TASKS:,}")
    last = array.ranges[-1].last
    combinations = prod(map(len, array.grid.values())) if array.grid else None
    if combinations and last >= combinations:
        yield Fault(
            "array.ranges", f"index {last} is past the last of {combinations:,} combinations of the grid"
        )
    if array.rows and last >= array.row_count > 0:
        yield Fault("array.ranges", f"index {last} is past the last of {array.row_count:,} rows")


def _grid_faults(name: str, values: tuple[str, ...]) -> Iterable[Fault]:
    field = f"array.grid.{name}"
    if wrong := parameter_fault(name):
        yield Fault(field, wrong)
    if not values:
        yield Fault(field, f"{name} has no values")
    if len(values) > MOST_TASKS:
        yield Fault(field, f"{name} has {len(values):,} values; one job has at most {MOST_TASKS:,} tasks")
    for value in values:
        if not value:
            yield Fault(field, f"a value of {name} is empty")
        elif "\0" in value or not _is_utf8(value):
            yield Fault(field, f"{value!r} cannot be the value of a variable")
        elif len(name) + len(value.encode()) >= _VALUE_LIMIT_BYTES:
            yield Fault(field, f"a value of {name} is over 128 KiB; put it into a file")
        else:
            continue
        return


def input_faults(payload: Payload | None) -> Iterable[Fault]:
    """What is wrong with the input of a job."""
    if payload is None:
        return
    if payload.inline and payload.blobs:
        yield Fault("input", "an input is either inline or in blobs")
    if len(payload.inline) > INLINE_BYTES:
        yield Fault("input.inline", f"an inline input has at most {INLINE_BYTES} bytes; send blobs")
    if payload.size_bytes < 0:
        yield Fault("input.size_bytes", "a size is 0 or more")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
