"""An attached run under a server that is killed again and again: complete, byte for byte, and home."""

import random
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import Place, a_place

pytestmark = [pytest.mark.flow, pytest.mark.timeout(200)]

KILLS = 10
LINES = 400
ANSWER_LIMIT_S = 60.0

R_SCRIPT = f"""
set.seed(1)
for (fold in seq_len({LINES})) {{
  cat(sprintf("fold %03d rmse %.6f %s\\n", fold, sqrt(fold), strrep("x", 60)))
  message("message ", fold)
  Sys.sleep(0.03)
}}
saveRDS(list(folds = {LINES}L), "model.rds")
write.csv(data.frame(fold = seq_len({LINES})), "folds.csv", row.names = FALSE)
quit(status = 7)
"""

PYTHON_SCRIPT = f"""
import math, pathlib, sys, time
for fold in range(1, {LINES} + 1):
    print(f"fold {{fold:03d}} rmse {{math.sqrt(fold):.6f}} {{'x' * 60}}")
    print("message", fold, file=sys.stderr)
    time.sleep(0.03)
pathlib.Path("model.rds").write_bytes(b"model")
pathlib.Path("folds.csv").write_text("fold\\n" + "".join(f"{{n}}\\n" for n in range(1, {LINES} + 1)))
sys.exit(7)
"""

WANTED = "".join(f"fold {fold:03d} rmse {fold**0.5:.6f} {'x' * 60}\n" for fold in range(1, LINES + 1))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


def test_ten_kills_of_the_server_cost_an_attached_run_nothing(place: Place) -> None:
    if shutil.which("Rscript", path=place.env["PATH"]):
        name, text = "train.R", R_SCRIPT
    else:
        print("Rscript is not installed; a Python script takes the place of the R one")
        name, text = "train.py", PYTHON_SCRIPT
    place.write(name, text)
    place.write(".gitignore", "*.rds\n")
    dice = random.Random(seed := random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")
    place.shore("ps")

    run = place.start("run", name)
    read = Reading(run)
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.0, 0.6))  # the moment is the experiment, not something waited for
        place.kill()
        place.shore("ps", env={"SHORE_SERVER": ""})
    code, stdout, stderr = read.whole()

    assert code == 7, stderr
    assert stdout == WANTED.encode()
    told = [line for line in stderr.decode().splitlines() if line.startswith("message ")]
    assert told == [f"message {fold}" for fold in range(1, LINES + 1)]
    assert (place.project / "model.rds").stat().st_size > 0
    assert len((place.project / "folds.csv").read_text().splitlines()) == LINES + 1
    assert len(place.shore("ps", "-a", "--ids").stdout.split()) == 1


def test_killed_while_it_starts_the_next_command_finds_a_server(place: Place) -> None:
    dice = random.Random(seed := random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")
    runs = []
    for number in range(5):
        run = place.start("run", "--", "sh", "-c", f"echo {number}; echo {number} > {number}.txt")
        time.sleep(dice.uniform(0.2, 1.2))  # the moment is the experiment
        if place.pid():
            place.kill()
        runs.append(run)

    for number, run in enumerate(runs):
        stdout, stderr = run.communicate(timeout=ANSWER_LIMIT_S)
        assert (run.returncode, stdout) == (0, b"%d\n" % number), stderr
        assert (place.project / f"{number}.txt").read_text() == f"{number}\n"
    assert len(place.shore("ps", "-a", "--ids").stdout.split()) == 5


class Reading:
    """Drains both pipes of a program, so that it never waits for us."""

    def __init__(self, run: subprocess.Popen[bytes]) -> None:
        self._run = run
        self._parts: dict[str, bytes] = {}
        self._threads = [
            threading.Thread(target=self._drain, args=(name,), daemon=True) for name in ("stdout", "stderr")
        ]
        for thread in self._threads:
            thread.start()

    def _drain(self, name: str) -> None:
        self._parts[name] = getattr(self._run, name).read()

    def whole(self) -> tuple[int, bytes, bytes]:
        """(exit code, stdout, stderr), once it has ended."""
        code = self._run.wait(ANSWER_LIMIT_S)
        for thread in self._threads:
            thread.join(ANSWER_LIMIT_S)
        return code, self._parts["stdout"], self._parts["stderr"]
