"""The server is killed again and again. Real processes."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from shorepower.model.resources import Resources
from support.cluster_rigs import PROFILES, Rig

LOCAL = next(profile for profile in PROFILES if profile.name == "local")
JOBS, ROUNDS = 80, 8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whenever_the_server_is_killed_each_job_runs_once_and_its_end_is_told(tmp_path, seed):
    dice = random.Random(seed)
    rig = Rig(LOCAL, tmp_path)
    log = tmp_path / "log"
    orders = []
    for number in range(JOBS):
        script = f"echo {number} >>{log}; sleep {dice.choice([0, 0, 0, 0.05, 0.2])}; exit {number % 5}"
        order = rig.order(f"job-{number}", resources=Resources(cpu_count=dice.choice([0.1, 0.5, 1])))
        name = "stop" if number % 10 == 9 else "job"
        orders.append(msgspec.structs.replace(order, argv=("sh", "-c", script), name=name))
    (tmp_path / "orders.json").write_bytes(msgspec.json.encode(orders))
    argv = [sys.executable, "-m", "support.local_server", str(tmp_path)]
    here = Path(__file__).parent.parent
    try:
        for _ in range(ROUNDS):
            server = subprocess.Popen(argv, cwd=here)
            until = time.monotonic() + 10
            before = len(log.read_bytes()) if log.exists() else 0
            while time.monotonic() < until and server.poll() is None:  # it has got to work
                if log.exists() and len(log.read_bytes()) > before:
                    break
                time.sleep(0.005)
            time.sleep(dice.random() * 0.1)
            server.kill()
            server.wait()
        subprocess.run(argv, cwd=here, check=True, timeout=60)
        until = time.monotonic() + 10
        while rig.processes() and time.monotonic() < until:  # a wrapper that lost the fence
            time.sleep(0.01)
        assert rig.processes() == []
    finally:
        rig.kill_all()
    told = {}
    for line in (tmp_path / "ends").read_text().splitlines():
        submission, how = line.split(" ", 1)
        assert told.setdefault(submission, how) == how  # told again is told the same
    assert len(told) == JOBS
    ran = Counter(log.read_text().split())
    assert set(ran.values()) == {1}
    for number in range(JOBS):
        how, code = told[f"job-{number}"], number % 5
        if number % 10 != 9:
            assert how == ("COMPLETED None 0" if code == 0 else f"FAILED EXIT_CODE {code}")
            assert str(number) in ran
        elif "STOPPED None" in how:
            assert str(number) not in ran
