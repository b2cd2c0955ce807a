"""Lives of a server: started with a fault point armed, or killed from outside, and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import shorepower
from shorepower.client.settings import places_of

__all__ = ["Ground", "Life", "counted"]

START_LIMIT_S = 60.0
"""From the start of a server until it answers."""
STOP_LIMIT_S = 30.0
_LAUNCHER = Path(__file__).with_name("points.py")
_PAUSE_S = 0.01


class Ground:
    """The folders of one storm: a state directory, and beside it what the server must not touch."""

    def __init__(self, folder: Path, runtime_dir: Path) -> None:
        self.folder, self.state_dir = folder, folder / "state"
        self.ledger, self.traces = folder / "ledger", folder / "traces"
        self.log = folder / "server.log"
        self.traces.mkdir(parents=True, exist_ok=True)
        self.ledger.touch()
        self.state_dir.mkdir(mode=0o700, exist_ok=True)
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(runtime_dir),
            "SHORE_STATE_DIR": str(self.state_dir),
            "PYTHONPATH": str(Path(shorepower.__file__).parents[1]),
        }
        self.lives = 0

    @property
    def socket(self) -> str:
        """Where the server listens."""
        return places_of(self.environ).socket


class Life:
    """One process of the server."""

    def __init__(self, ground: Ground, point: str = "-") -> None:
        self.point, self._ground = point, ground
        ground.lives += 1
        self.trace = ground.traces / f"{ground.lives:05d}"
        command = [sys.executable, str(_LAUNCHER), str(ground.state_dir), str(self.trace), point, "--"]
        with ground.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "serve", "--private"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=ground.environ,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_it_answers(self) -> bool:
        """True once it does; False when it died before. Raises TimeoutError."""
        deadline = time.monotonic() + START_LIMIT_S
        while self.alive:
            if _answers(self._ground.socket):
                return True
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server does not answer; its log: {self._ground.log}")
            time.sleep(_PAUSE_S)
        return False

    def wait_until_dead(self, limit_s: float) -> bool:
        """Whether it died in time."""
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, from outside."""
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        """As an administrator would."""
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Ask it to end, and wait until it has. Raises TimeoutError."""
        self.ask_to_stop()
        if not self.wait_until_dead(STOP_LIMIT_S):
            self.kill()
            raise TimeoutError("the server did not end on SIGTERM")

    @property
    def killed_itself(self) -> bool:
        """Whether it reached its point."""
        return self._process.returncode == -signal.SIGKILL and self._last_line().startswith("KILL ")

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def _last_line(self) -> str:
        lines = self.trace.read_text().splitlines() if self.trace.exists() else []
        return lines[-1] if lines else ""


def counted(trace: Path) -> Counter[str]:
    """How often each kind of point was reached in one life."""
    lines = trace.read_text().splitlines()
    return Counter(line.removeprefix("KILL ") for line in lines)


def _answers(path: str) -> bool:
    if not os.path.exists(path):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def processes_with(variables: Mapping[str, str]) -> list[int]:
    """Processes whose environment holds all of these."""
    wanted = [f"{name}={value}".encode() for name, value in variables.items()]
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # it ended, or is not ours
            if all(one in environment for one in wanted):
                found.append(int(entry.name))
    return found
