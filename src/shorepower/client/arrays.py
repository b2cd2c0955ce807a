"""From what was said of many tasks (indices, a grid, a file) to the array of a job. Nothing is sent yet."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from ..model.array import MOST_TASKS, ArraySpec, Range, parse_indices, ranges_of, spell_indices
from ..model.errors import Fault, InvalidRequest
from ..model.parameters import parameter_fault
from .array_file import Row, Rows, read_rows
from .names import shown
from .options import Options

__all__ = ["ArrayPlan", "array_text", "grid_of", "plan_array", "read_grid"]


class ArrayPlan(Struct, frozen=True, kw_only=True):
    """The array of a job, and what is still to be sent of it."""

    spec: ArraySpec
    rows: Rows | None = None
    notes: tuple[str, ...] = ()

    def given(self, index: int) -> Row:
        """What one task is given: ``args``, ``env`` or ``command``; empty: its index only."""
        if self.spec.grid:
            return {"env": self.spec.combination(index)}
        return self.rows.row(index) if self.rows is not None else {}

    def told(self, index: int) -> str:
        """The same for a person: ``lr=0.1 depth=2``, its arguments, its command."""
        row = self.given(index)
        if "env" in row:
            return " ".join(f"{name}={value}" for name, value in row["env"].items())
        return shlex.join(row["args"]) if "args" in row else row.get("command", "")

    def line(self) -> str:
        """``100 tasks (0-99), 10 at a time · lr: 3 values · depth: 2 values``."""
        spec = self.spec
        count = spec.count
        parts = [f"{count:,} {'task' if count == 1 else 'tasks'} ({_short(spell_indices(spec.ranges))})"]
        if spec.max_parallel:
            parts[0] += f", {spec.max_parallel} at a time"
        parts += [f"{name}: {_values(len(values))}" for name, values in spec.grid.items()]
        return " · ".join(parts)


def plan_array(
    options: Options,
    said: str | None,
    *,
    cwd: Path,
    own_stdin: BinaryIO | None,
    nothing_to_run: bool,
) -> ArrayPlan:
    """The array that options and the script's ``#SBATCH --array`` (``said``) ask for; one of them does.

    ``nothing_to_run``: no script and no command was given, so that the file has to hold commands. Raises
    InvalidRequest with every fault.
    """
    indices, max_parallel = options.array, options.max_parallel
    grid, file = options.grid, options.array_file
    swept = bool(grid) or file is not None
    text = indices if indices is not None or swept else said
    if text is None and not swept:
        raise InvalidRequest(
            [Fault("--max-parallel", "--max-parallel is for arrays: give -a, --grid or --array-file too")]
        )
    faults: list[Fault] = []
    ranges, at_once = _ranges(text, "#SBATCH --array" if indices is None else "-a", faults)
    if max_parallel is not None and max_parallel < 1:
        faults.append(Fault("--max-parallel", "--max-parallel: at least one task runs at a time"))
    if grid and file is not None:
        faults.append(Fault("--grid", "--grid and --array-file are two sources of parameters; give one"))
    if str(file) == "-" and options.stdin == "-":
        faults.append(Fault("--array-file", "--array-file - and --stdin - cannot both read standard input"))
    faults += _grid_faults(grid)
    rows = _rows(file, cwd, own_stdin, nothing_to_run, faults) if file is not None else None
    total = prod(map(len, grid.values())) if grid else rows.count if rows is not None else None
    if not faults and total is not None:
        faults += _beyond(text, ranges, total, "combinations" if grid else "rows")
    if indices and max_parallel and at_once and max_parallel != at_once:
        faults.append(
            Fault(
                "--max-parallel", f"-a {indices} says %{at_once}, --max-parallel {max_parallel}; give one"
            )
        )
    if faults:
        raise InvalidRequest(faults)
    spec = ArraySpec(
        ranges=ranges or (Range(0, (total or 1) - 1),),
        max_parallel=max_parallel or at_once,
        grid=dict(grid),
        rows=tuple(blob.digest for blob in rows.blobs) if rows is not None else (),
        row_count=rows.count if rows is not None else 0,
    )
    replaced = swept and said and indices is None
    notes = (f"#SBATCH --array={said} gives way to --grid or --array-file",) if replaced else ()
    return ArrayPlan(spec=spec, rows=rows, notes=notes)


def read_grid(texts: Iterable[str]) -> tuple[dict[str, tuple[str, ...]], list[Fault]]:
    """Parameters of ``NAME=V1,V2`` (values quoted as in CSV where they hold a comma), and what is wrong."""
    grid: dict[str, tuple[str, ...]] = {}
    faults: list[Fault] = []
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals:
            faults.append(Fault("--grid", f"--grid {text!r}: write --grid NAME=V1,V2,V3"))
        elif name in grid:
            faults.append(Fault("--grid", f"--grid {name} is there twice; write all its values in one"))
        else:
            try:
                grid[name] = _split(values)
            except ValueError as error:
                faults.append(Fault("--grid", f"--grid {text}: {error}"))
    return grid, faults


def grid_of(given: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """A grid of a program: values as a list, or as text with commas. Raises ValueError."""
    grid = {}
    for name, values in given.items():
        if isinstance(values, str):
            grid[name] = _split(values)
        elif isinstance(values, Iterable):
            grid[name] = tuple(map(str, _given(name, values)))
        else:
            raise ValueError(f"{name}: give a list of values")  # noqa: TRY004 - as for any other value
    return grid


def _given(name: str, values: Iterable[object]) -> Iterable[object]:
    for value in values:
        if value is None:
            raise ValueError(f"{name}: None is no value of a variable")
        yield value


def array_text(given: object) -> str:
    """Indices of a program: ``"0-99"``, or numbers such as ``range(100)``. Raises ValueError."""
    if isinstance(given, str):
        return given
    if isinstance(given, Iterable):
        numbers = list(given)
        if numbers and all(isinstance(number, int) and number >= 0 for number in numbers):
            return spell_indices(ranges_of(numbers))
    raise ValueError(f"write '0-99', or numbers such as range(100); not {given!r}")


def _split(values: str) -> tuple[str, ...]:
    try:
        found = next(csv.reader([values], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{error}; a value with a comma is quoted: 'a,\"b,c\"'") from None
    if not found:
        raise ValueError("there is no value")
    if "" in found:
        raise ValueError(f"value {found.index('') + 1} is empty")
    return tuple(found)


def _grid_faults(grid: Mapping[str, Sequence[str]]) -> list[Fault]:
    told = [parameter_fault(name) for name in grid]
    told += [f"{name} has no values" for name, values in grid.items() if not values]
    if (count := prod(map(len, grid.values()))) > MOST_TASKS:
        told.append(f"{count:,} combinations are more tasks than one job may have ({MOST_TASKS:,})")
    return [Fault("--grid", f"--grid: {sentence}") for sentence in told if sentence]


def _ranges(text: str | None, option: str, faults: list[Fault]) -> tuple[tuple[Range, ...], int | None]:
    if text is None:
        return (), None
    try:
        return parse_indices(text)
    except ValueError as error:
        faults.append(Fault("-a", f"{option}: {error}"))
        return (), None


def _beyond(text: str | None, ranges: Sequence[Range], total: int, what: str) -> list[Fault]:
    if ranges and ranges[-1].last >= total:
        told = f"-a {text}: index {ranges[-1].last} is past the last of {total:,} {what} (0-{total - 1})"
        return [Fault("-a", told)]
    return []


def _rows(
    file: Path, cwd: Path, own_stdin: BinaryIO | None, nothing_to_run: bool, faults: list[Fault]
) -> Rows | None:
    if str(file) == "-" and own_stdin is None:
        faults.append(Fault("--array-file", "--array-file -: there is no standard input"))
        return None
    try:
        if str(file) == "-" and own_stdin is not None:
            return read_rows(own_stdin, "-", whole_commands=nothing_to_run)
        with (cwd / file).open("rb") as opened:
            return read_rows(opened, str(file), whole_commands=nothing_to_run)
    except InvalidRequest as wrong:
        faults += wrong.faults
    except OSError as error:
        told = f"--array-file {shown(str(file))} cannot be read: {error.strerror}"
        faults.append(Fault("--array-file", told))
    return None


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
