"""The whole exercise: count the points of an undisturbed run, kill at them one by one, check, tell."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from .checks import check_folders, check_jobs, check_ledger, check_processes, check_store
from .lives import Ground, Life, counted
from .storm import Storm

__all__ = ["STOPPING", "Figures", "Round", "kills_in", "points_of", "undisturbed"]

POINT_LIMIT_JOBS = 30
"""How many jobs a life is given until its point counts as not reached; it was found with one of each
kind."""
LIFE_LIMIT_S = 120.0
"""Whatever the load: no life lasts longer."""
RANDOM_KILL_S = 2.5
"""A kill at random falls within this time after the start of a life."""
STOPPING = "stopping "
"""Before the name of a point that only a server that was asked to stop reaches."""
_PACE_S = 0.1
"""Between two submits."""


class Figures:
    """What one round saw."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.kills: Counter[str] = Counter()
        """By kind of point; ``random`` for those from outside."""
        self.missed: list[str] = []
        self.faults: list[str] = []
        self.jobs = self.retries = self.output_bytes = self.operations = self.starts = 0
        self.seconds = 0.0

    def __str__(self) -> str:
        points = sum(count for kind, count in self.kills.items() if kind != "random")
        return (
            f"crash: {points} kills at {len(self.kills.keys() - {'random'})} kinds of points, "
            f"{self.kills['random']} at random, {len(self.missed)} points not reached; "
            f"{self.jobs} jobs acknowledged, {self.starts} starts on the ledger, "
            f"{self.operations} operations, {self.output_bytes} bytes followed, {self.retries} retries; "
            f"{len(self.faults)} faults; {self.seconds:.0f} s; seed {self.seed}"
        )

    def add(self, other: Figures) -> None:
        """Another round's figures on top."""
        self.kills += other.kills
        self.missed += other.missed
        self.faults += other.faults
        for name in ("jobs", "retries", "output_bytes", "operations", "starts", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Round:
    """One state directory under one storm."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._runtime = Path(tempfile.mkdtemp(prefix="shore-crash-"))
        self.ground = Ground(folder, self._runtime)
        self.figures = Figures(seed)
        self._dice = random.Random(f"round {seed}")
        self.storm = Storm(self.ground.environ, seed, str(self.ground.ledger))
        self._began = time.monotonic()
        self._life: Life | None = None

    def live_and_die(self, point: str) -> bool:
        """One life that ends at a point (or, for ``random``, at any moment), under load. False when it had
        to be ended for its length: some job hangs, and every life from here on would be as long."""
        if point == "random":
            life = self._life = Life(self.ground)
            self._load(life, self._dice.uniform(0.0, RANDOM_KILL_S), POINT_LIMIT_JOBS)
            life.kill()
            self.figures.kills[point] += 1
            return True
        life = self._life = Life(self.ground, point.removeprefix(STOPPING))
        if point.startswith(STOPPING):
            self._load(life, self._dice.uniform(0.0, RANDOM_KILL_S), POINT_LIMIT_JOBS)
            if life.wait_until_it_answers():
                life.ask_to_stop()
                life.wait_until_dead(LIFE_LIMIT_S)
        else:
            self._load(life, LIFE_LIMIT_S, POINT_LIMIT_JOBS)
        if life.killed_itself:
            self.figures.kills[point.rpartition(":")[0]] += 1
            return True
        if not life.alive and not point.startswith(STOPPING):
            self.figures.faults.append(
                f"the server ended by itself with {life.exit_code} on the way to {point}; "
                f"see {self.ground.log}"
            )
            return True
        self.figures.missed.append(point)
        life.kill()
        return not self.storm.busy or point.startswith(STOPPING)

    def _load(self, life: Life, limit_s: float, jobs: int) -> None:
        """So many jobs come in and are seen through, unless the life or the time is over before."""
        deadline = time.monotonic() + limit_s
        while life.alive and (left := deadline - time.monotonic()) > 0:
            if jobs:
                jobs -= self.storm.submit_more(min(left, _PACE_S))
            elif not self.storm.busy:
                return
            life.wait_until_dead(min(left, _PACE_S))

    def live_in_peace(self, jobs: int) -> Counter[str]:
        """One life that nobody disturbs, stopped at its end; how often it reached each kind of point."""
        life = self._life = Life(self.ground)
        life.wait_until_it_answers()
        for _ in range(jobs):
            self.storm.submit_more(60.0)
        self.storm.finish()
        before = counted(life.trace)
        life.stop()
        both = counted(life.trace)
        only_then = {f"{STOPPING}{kind}": count for kind, count in both.items() if kind not in before}
        return before + Counter(only_then)

    def finish(self) -> Figures:
        """Let everything end, then check everything. A round without faults leaves nothing behind."""
        life = self._life = Life(self.ground)
        try:
            if not life.wait_until_it_answers():
                self.figures.faults.append(f"the last server ended by itself with {life.exit_code}")
            else:
                self.storm.finish()
                self.figures.faults += check_jobs(self.storm)
        finally:
            self._close(life)
        self.figures.faults += self._check_what_is_left()
        self._count()
        if self.figures.faults:
            self.figures.faults.append(f"the state directory is kept: {self.ground.state_dir}")
        else:
            shutil.rmtree(self.ground.folder)
        return self.figures

    def _close(self, life: Life) -> None:
        try:
            if life.alive:
                life.stop()
        except TimeoutError as fault:
            self.figures.faults.append(str(fault))
        self.storm.close()
        shutil.rmtree(self._runtime, ignore_errors=True)

    def _check_what_is_left(self) -> Iterator[str]:
        yield from check_ledger(self.storm, self.ground)
        yield from check_processes(self.ground)
        yield from check_folders(self.storm, self.ground)
        yield from check_store(self.ground)

    def _count(self) -> None:
        told = [one for one in self.storm.told if one.id]
        self.figures.jobs = len(told)
        self.figures.retries = self.storm.retries
        self.figures.operations = sum(len(one.asked) for one in told)
        self.figures.output_bytes = sum(len(data) for one in told for data in one.streams.values())
        self.figures.starts = len(self.ground.ledger.read_text().splitlines())
        self.figures.seconds = time.monotonic() - self._began


def undisturbed(folder: Path, seed: int, jobs: int) -> tuple[Counter[str], Counter[str], Figures]:
    """Points of a first life and of a later one, when nothing is killed."""
    run = Round(folder, seed)
    first, later = run.live_in_peace(jobs), run.live_in_peace(jobs)
    return first, later, run.finish()


def points_of(counts: Counter[str], kills: int, dice: random.Random) -> list[str]:
    """So many points: every kind once before any kind again, the first and the last of a kind before
    those between, which are drawn by lot."""
    chosen: list[str] = []
    rank = 0
    while len(chosen) < kills and rank < max(counts.values()):
        some = [f"{kind}:{_nth(count, rank, dice)}" for kind, count in counts.items() if count > rank]
        dice.shuffle(some)
        chosen += some
        rank += 1
    return chosen[:kills]


def _nth(count: int, rank: int, dice: random.Random) -> int:
    """Which of a kind's points comes at a rank."""
    return (dice.randint(1, count), 1, count)[rank] if rank < 3 else dice.randint(1, count)


def kills_in(folder: Path, seed: int, points: Sequence[str]) -> Figures:
    """One round in which a server dies at each of these points in turn."""
    run = Round(folder, seed)
    for number, point in enumerate(points):
        if not run.live_and_die(point):
            run.figures.missed += points[number + 1 :]
            break
    return run.finish()
