"""Killing the server at any moment loses no job, starts none twice, and spoils no output: the short form.

``make crash`` runs the long one. The seed of a run is printed; SHORE_CRASH_SEED repeats it.
"""

from __future__ import annotations

import os
import random

import pytest

from crash.exercise import JOBS_TO_COUNT, first_points
from crash.harness import Figures, kills_in, points_of, undisturbed

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

AT_RANDOM = 8
FIRST_STARTS = 6


@pytest.fixture(scope="module")
def seed() -> int:
    return int(os.environ.get("SHORE_CRASH_SEED") or random.SystemRandom().randrange(10**6))


@pytest.fixture(scope="module")
def counts(seed, tmp_path_factory):
    """Points of a first life and of a later one."""
    first, later, seen = undisturbed(tmp_path_factory.mktemp("undisturbed"), seed, JOBS_TO_COUNT)
    _judge(seen)
    return first, later


def test_killed_at_every_kind_of_point_and_at_random(counts, seed, tmp_path):
    _, later = counts
    dice = random.Random(f"short {seed}")
    points = [*points_of(later, len(later), dice), *["random"] * AT_RANDOM]
    dice.shuffle(points)
    seen = kills_in(tmp_path / "round", seed, points)
    _judge(seen)
    reached = len(seen.kills.keys() - {"random"})
    assert reached >= 0.9 * len(later), f"not reached: {seen.missed}"


def test_killed_while_a_state_directory_is_made(counts, seed, tmp_path):
    total = Figures(seed)
    for number, point in enumerate(first_points(*counts, FIRST_STARTS, random.Random(seed))):
        total.add(kills_in(tmp_path / f"first-{number}", seed, [point]))
    _judge(total)
    assert sum(total.kills.values()) >= FIRST_STARTS - 1


def _judge(seen: Figures) -> None:
    print(seen)
    assert not seen.faults, "\n".join([str(seen), *seen.faults])
