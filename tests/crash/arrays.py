"""The arrays of a storm: some tens of tasks, of which what each writes and how it ends is known.

As every job of a storm, each task appends a line to the ledger before anything else; its name there is
``<job>_<index>``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import product

from msgspec import Struct

from shorepower.model.array import ArraySpec, Range
from shorepower.model.job import JobSpec
from shorepower.model.lifecycle import Operation
from shorepower.model.resources import Resources

__all__ = ["ARRAYS", "PlannedTask"]

_SCRIPT = """
i=$SHOREPOWER_TASK_INDEX
printf '%s_%s %s %s\\n' "$SHOREPOWER_JOB_ID" "$i" "$SHOREPOWER_ATTEMPT" "$$" >> "$LEDGER"
[ $((i % 5)) = 4 ] || printf 'out %s %d %s\\n' "$MARK" "$i" "$*"
[ $((i % 3)) != 0 ] || printf 'err %s %d\\n' "$MARK" "$i" >&2
[ $((i % 6)) != 1 ] || printf '{"number": %d}\\n' "$i" >> "$SHOREPOWER_METRICS"
if [ $((i % 7)) = 5 ]; then
  mkdir -p out
  printf 'made by %s %d\\n' "$MARK" "$i" > out/made.txt
fi
[ $((i % 6)) != 1 ] || sleep "$LONG"
if [ "$i" -ge "$ENDLESS" ] && [ "$i" -le $((ENDLESS + 1)) ]; then
  sleep 1000 &
  setsid sleep 1000 &
  while :; do sleep 0.2; done
fi
[ $((i % 4)) != 3 ] || exit $((1 + i % 100))
"""
"""Some tasks take longer than what is short for the server, and two of some arrays have no end."""
_NEVER = 1_000_000


class PlannedTask(Struct, frozen=True, kw_only=True):
    """What must become of a task that is not stopped."""

    exit_code: int
    stdout: bytes
    stderr: bytes
    number: int | None
    """Its metric."""
    results: dict[str, bytes]


def _task(mark: str, index: int, words: str) -> PlannedTask:
    return PlannedTask(
        exit_code=1 + index % 100 if index % 4 == 3 else 0,
        stdout=f"out {mark} {index} {words}\n".encode() if index % 5 != 4 else b"",
        stderr=f"err {mark} {index}\n".encode() if index % 3 == 0 else b"",
        number=index if index % 6 == 1 else None,
        results={"out/made.txt": f"made by {mark} {index}\n".encode()} if index % 7 == 5 else {},
    )


def _array(
    mark: str,
    env: dict[str, str],
    array: ArraySpec,
    *,
    words: Iterable[str] = (),
    endless: int = _NEVER,
    long_s: float = 0.05,
) -> dict[str, object]:
    said = list(words)
    spec = JobSpec(
        name=mark,
        cluster="local",
        argv=("/bin/sh", "-c", _SCRIPT, mark, *(f"{{{name}}}" for name in array.grid)),
        env={
            "PATH": "/usr/bin:/bin",
            "MARK": mark,
            "ENDLESS": str(endless),
            "LONG": str(long_s),
            **env,
        },
        resources=Resources(cpu_count=1.0),
        grace_s=1.0,
        array=array,
    )
    tasks = {index: _task(mark, index, said[index] if said else "") for index in array.indices()}
    return {"spec": spec, "tasks": tasks}


def _several(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    first, step = dice.randrange(50), dice.choice((1, 1, 3))
    last = first + step * dice.randrange(19, 60)
    return _array(mark, env, ArraySpec(ranges=(Range(first, last, step),)))


def _gridded(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    grid = {"letter": ("a", "b c", "d'"), "number": tuple(map(str, range(dice.randrange(7, 14))))}
    words = [" ".join(chosen) for chosen in product(*grid.values())]
    array = ArraySpec(ranges=(Range(0, len(words) - 1),), grid=grid, max_parallel=dice.choice((1, 2, 3)))
    return _array(mark, env, array, words=words)


def _suspended(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    array = ArraySpec(ranges=(Range(1, dice.randrange(20, 40)),))
    return {
        **_array(mark, env, array, long_s=0.5),
        "operations": (Operation.SUSPEND, Operation.RESUME),
    }


def _ended(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    last = dice.randrange(20, 60)
    array = ArraySpec(ranges=(Range(0, last),), max_parallel=dice.choice((None, 3)))
    return {  # without an end are two in the midst of it, or the last two: then nothing else waits
        **_array(mark, env, array, endless=dice.choice((dice.randrange(19), last - 1))),
        "operations": (dice.choice((Operation.STOP, Operation.KILL)),),
    }


def _partly(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    first, count = dice.randrange(15), dice.randrange(2, 12)
    array = ArraySpec(ranges=(Range(0, dice.randrange(30, 50)),), max_parallel=dice.choice((None, 1, 3)))
    return {
        **_array(mark, env, array, endless=first),
        "operations": (dice.choice((Operation.STOP, Operation.KILL)),),
        "some": f"{first}-{first + count - 1},29",
    }


ARRAYS: dict[str, Callable[[str, dict[str, str], random.Random], dict[str, object]]] = {
    "array": _several,
    "grid": _gridded,
    "array-suspended": _suspended,
    "array-ended": _ended,
    "array-partly": _partly,
}
