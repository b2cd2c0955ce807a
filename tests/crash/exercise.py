"""The exercise at any length: ``python tests/crash/exercise.py --kills 500 [--seed N] [--keep DIR]``."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from crash.harness import Figures, kills_in, points_of, undisturbed
from crash.jobs import KINDS

__all__ = ["exercise", "first_points"]

KILLS_A_ROUND = 60
"""Then everything is allowed to end and is checked, and a new state directory begins."""
AT_RANDOM = 5
"""One kill in so many falls at any moment."""
JOBS_TO_COUNT = len(KINDS)


def exercise(folder: Path, seed: int, kills: int) -> Iterator[tuple[str, Figures]]:
    """(what was done, what was seen) of each round."""
    dice = random.Random(f"exercise {seed}")
    first, later, seen = undisturbed(folder / "undisturbed", seed, JOBS_TO_COUNT)
    yield "undisturbed", seen
    starts = first_points(first, later, max(3, kills // 20), dice)
    for number, point in enumerate(starts):
        yield point, kills_in(folder / f"first-{number}", seed + number, [point])
    left = kills - len(starts)
    points = points_of(later, left - left // AT_RANDOM, dice)
    points += ["random"] * (left - len(points))
    dice.shuffle(points)
    for number, begin in enumerate(range(0, len(points), KILLS_A_ROUND)):
        some = points[begin : begin + KILLS_A_ROUND]
        yield f"round {number}", kills_in(folder / f"round-{number}", seed + number, some)


def first_points(first: Counter[str], later: Counter[str], count: int, dice: random.Random) -> list[str]:
    """Points that only the first start in a state directory reaches: what is made there once."""
    once = Counter({kind: most for kind, most in first.items() if most > later[kind]})
    early = Counter({kind: min(most, 1 + most - later[kind]) for kind, most in once.items()})
    return points_of(early, count, dice)


def _main() -> int:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--kills", type=int, default=200)
    reader.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    reader.add_argument("--keep", type=Path, help="where state directories of rounds with faults stay")
    asked = reader.parse_args()
    folder = asked.keep or Path(tempfile.mkdtemp(prefix="shore-crash-rounds-"))
    total = Figures(asked.seed)
    print(f"seed {asked.seed}, in {folder}", flush=True)
    for what, seen in exercise(folder, asked.seed, asked.kills):
        total.add(seen)
        print(f"{what}: {seen}", flush=True)
        for fault in seen.faults:
            print(f"  FAULT {fault}", flush=True)
    print(f"all: {total}")
    if total.missed:
        print(f"not reached: {', '.join(total.missed)}")
    return 1 if total.faults else 0


if __name__ == "__main__":
    sys.exit(_main())
