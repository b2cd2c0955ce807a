"""The private server starts by itself. Real servers."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from shorepower.client import autostart
from shorepower.client.errors import NotStarted
from shorepower.client.settings import places_of


@pytest.fixture
def environ(tmp_path: Path):
    (tmp_path / "run").mkdir(mode=0o700)
    yield {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "SHORE_STATE_DIR": str(tmp_path / "state"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
    }
    for server in autostart._started:
        server.kill()
        server.wait()


def kill_each(how_many: int, pids: list[int]) -> threading.Thread:
    """Kills so many servers, each as soon as it was started."""

    def kill() -> None:
        seen: set[int] = set()
        while len(seen) < how_many:
            for server in autostart._started:
                if server.pid not in seen:
                    seen.add(server.pid)
                    pids.append(server.pid)
                    os.kill(server.pid, signal.SIGKILL)
            time.sleep(0.001)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    return thread


def test_a_server_that_is_killed_while_it_starts_is_started_again(environ, monkeypatch) -> None:
    monkeypatch.setattr(autostart, "_started", [])
    places, told, killed = places_of(environ), [], []
    killer = kill_each(1, killed)
    autostart.start(places, environ, told.append)
    killer.join()
    assert autostart.answers(places.socket)
    assert told == ["starting your server", "it was killed before it answered", "starting your server"]
    assert len(autostart._started) == 1
    assert autostart._started[0].pid not in killed


def test_one_that_is_killed_again_and_again_is_told_of(environ, monkeypatch) -> None:
    monkeypatch.setattr(autostart, "_started", [])
    monkeypatch.setattr(autostart, "OTHER_STARTER_S", 0.1)
    killer = kill_each(2, [])
    with pytest.raises(NotStarted, match="your server was ended by signal 9"):
        autostart.start(places_of(environ), environ, lambda _: None)
    killer.join()
    assert isinstance(autostart._started[0], subprocess.Popen)
