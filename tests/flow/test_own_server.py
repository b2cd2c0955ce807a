"""``shore server`` finds the user's own server, also when its socket is not where it should be."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import Place, a_place

pytestmark = pytest.mark.flow


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        made.shore("server", "start")
        yield made


def test_a_server_without_its_socket_still_runs(place: Place) -> None:
    pid = place.pid()
    shutil.rmtree(place.runtime / "shorepower")

    assert place.shore("server", "status", "--json").json["pid"] == pid


def test_a_server_without_its_socket_can_be_stopped(place: Place) -> None:
    shutil.rmtree(place.runtime / "shorepower")

    assert "your server has stopped" in place.shore("server", "stop").stderr
    assert place.pid() == 0


def test_a_login_with_another_runtime_directory_sees_the_same_server(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir(mode=0o700)
    other = {"XDG_RUNTIME_DIR": str(tmp_path / "other")}

    assert place.shore("server", "status", "--json", env=other).json["pid"] == place.pid()
    assert "your server has stopped" in place.shore("server", "stop", env=other).stderr


def test_a_killed_server_does_not_run(place: Place) -> None:
    place.kill()

    assert place.shore("server", "status").code == 121
    assert "no server was running" in place.shore("server", "stop").stderr
