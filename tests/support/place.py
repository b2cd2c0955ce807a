"""A home with a private server of its own: command lines run in it, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

__all__ = ["SHORE", "Done", "Place", "a_place"]

SHORE = (sys.executable, "-m", "shorepower")
PATH = "/usr/local/bin:/usr/bin:/bin"
LIMIT_S = 60.0


class Done:
    """One command line that has ended."""

    def __init__(self, code: int, stdout: bytes, stderr: bytes) -> None:
        self.code, self.raw = code, stdout
        self.stdout, self.stderr = stdout.decode(errors="replace"), stderr.decode(errors="replace")

    def __repr__(self) -> str:
        return f"<code {self.code}>\n{self.stdout}\n{self.stderr}"

    @property
    def json(self) -> dict:
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.stdout.splitlines()]


class Place:
    """``home``, ``project`` below it, and an environment that knows nothing else."""

    def __init__(self, home: Path) -> None:
        self.home, self.project = home, home / "project"
        self.state = home / "state"
        self.runtime = home / "run"
        self.project.mkdir()
        self.runtime.mkdir(mode=0o700)
        self.env: dict[str, str] = {
            "HOME": str(home),
            "PATH": PATH,
            "LANG": "C.UTF-8",
            "USER": os.environ.get("USER", "root"),
            "SHORE_STATE_DIR": str(self.state),
            "XDG_RUNTIME_DIR": str(self.runtime),
        }

    def write(self, name: str, text: str | bytes) -> Path:
        file = self.project / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def shore(
        self, *words: str, env: Mapping[str, str] = {}, stdin: bytes = b"", cwd: Path | None = None
    ) -> Done:
        """Run one command line to its end."""
        done = subprocess.run(
            [*SHORE, *words],
            env={**self.env, **env},
            cwd=cwd or self.project,
            input=stdin,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str, env: Mapping[str, str] = {}) -> subprocess.Popen[bytes]:
        """Begin one command line."""
        return subprocess.Popen(
            [*SHORE, *words],
            env={**self.env, **env},
            cwd=self.project,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # so that nothing read ahead is lost to `communicate`
        )

    def pid(self) -> int:
        """The server's process; 0 when none runs."""
        done = self.shore("server", "status", "--json")
        return done.json["pid"] if done.code == 0 else 0

    def kill(self) -> None:
        """``kill -9`` of the server."""
        pid = self.pid()
        assert pid
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{pid}/status").exists() and "Z" not in _state(pid):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def close(self) -> None:
        """End what still runs."""
        for job in self.shore("ps", "--ids", env={"SHORE_AUTOSTART": "0"}).stdout.split():
            self.shore("kill", job, env={"SHORE_AUTOSTART": "0"})
        self.shore("server", "stop")


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


@contextmanager
def a_place(home: Path) -> Iterator[Place]:
    place = Place(home)
    try:
        yield place
    finally:
        place.close()
