"""``shore login ssh://host``: our HTTP through a real ssh to a real sshd on this machine."""

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shorepower.client.settings import places_of
from support.place import PATH, Place, a_place

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin:/sbin")
pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="openssh is not installed"),
]
USER = pwd.getpwuid(os.getuid()).pw_name


class Remote:
    """An sshd whose sessions live in a home of their own, and an ssh that knows its key."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "remote"
        self.home.mkdir()
        (self.home / "run").mkdir(mode=0o700)
        self.log = folder / "sshd.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
        self._process = self._start(folder)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._make_ssh()

    def _start(self, folder: Path) -> "subprocess.Popen[bytes]":
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # what the service makes before it starts
        config = folder / "sshd_config"
        env = {
            "HOME": self.home,
            "PATH": f"{sys.prefix}/bin:{PATH}",
            "SHORE_STATE_DIR": self.home / "state",
            "XDG_RUNTIME_DIR": self.home / "run",
        }
        config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
            "PermitRootLogin yes\nUsePAM no\nSetEnv "
            + " ".join(f'"{name}={value}"' for name, value in env.items())
            + "\n"
        )
        process = subprocess.Popen([SSHD, "-D", "-f", config, "-E", self.log], close_fds=True)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return process
            assert process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _make_ssh(self) -> None:
        """An ``ssh`` that is the real one with a configuration of the test's own."""
        config = self.folder / "ssh_config"
        config.write_text(
            f"Host hpc\nHostName 127.0.0.1\nPort {self.port}\nUser {USER}\n"
            f"IdentityFile {self.folder}/user\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {self.folder}/known\nStrictHostKeyChecking accept-new\n"
        )
        script = self.bin / "ssh"
        script.write_text(
            f'#!/bin/sh\necho "$*" >> {self.folder}/calls\nexec {shutil.which("ssh")} -F {config} "$@"\n'
        )
        script.chmod(0o755)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    made = Remote(tmp_path_factory.mktemp("ssh"))
    yield made
    made.close()


@pytest.fixture
def place(tmp_path: Path, remote: Remote) -> Iterator[Place]:
    with a_place(tmp_path) as made, tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as short:
        made.env["PATH"] = f"{remote.bin}:{PATH}"
        made.env["XDG_RUNTIME_DIR"] = short  # sockets of ssh need a short path
        yield made
        for master in places_of(made.env).ssh_dir.glob("*"):  # theirs lasts hours, beyond the test
            if master.is_socket():
                subprocess.run(
                    ["ssh", "-o", f"ControlPath={master}", "-O", "exit", "x"], capture_output=True
                )


def test_the_whole_way_through_ssh(place: Place, remote: Remote) -> None:
    logged_in = place.shore("login", "ssh://hpc")
    assert logged_in.code == 0, logged_in
    assert f"hpc: you are {USER} on" in logged_in.stderr
    place.write("w.sh", "echo over there; pwd; echo 1 > made.txt\n")

    done = place.shore("run", "w.sh")

    assert done.code == 0, done
    assert done.stdout.splitlines()[0] == "over there"
    assert str(remote.home) in done.stdout
    assert (place.project / "made.txt").read_text() == "1\n"
    assert not (place.state / "store.db").exists()
    assert "hpc" in place.shore("whoami").stdout
    masters = [
        line for line in (remote.folder / "calls").read_text().splitlines() if "ControlMaster=yes" in line
    ]
    assert len(masters) == 1
    assert place.shore("--help").code == 0
    assert place.shore("--version").code == 0
    private = place.shore("run", "--server", "private", "--", "echo", "here")
    assert private.stdout == "here\n"
    out = place.shore("logout")
    assert "hpc is forgotten" in out.stderr
    assert place.shore("server", "status").code == 0


def test_output_goes_on_over_a_cut_of_the_connection(place: Place, remote: Remote) -> None:
    assert place.shore("login", "ssh://hpc", "--as", "far").code == 0
    place.write("c.sh", "for i in $(seq 1 60); do echo line $i; sleep 0.05; done\n")
    run = place.start("run", "c.sh")
    assert run.stdout is not None
    first = run.stdout.readline()
    (master,) = (path for path in places_of(place.env).ssh_dir.iterdir() if path.is_socket())

    subprocess.run(
        ["ssh", "-o", f"ControlPath={master}", "-O", "exit", "x"], capture_output=True, check=True
    )

    stdout, stderr = run.communicate(timeout=60)
    assert run.returncode == 0, stderr
    assert first + stdout == b"".join(b"line %d\n" % number for number in range(1, 61))


def test_a_kept_connection_that_was_killed_is_made_anew(place: Place, remote: Remote) -> None:
    assert place.shore("login", "ssh://hpc").code == 0
    (master,) = (path for path in places_of(place.env).ssh_dir.iterdir() if path.is_socket())
    control = ["ssh", "-o", f"ControlPath={master}", "-O", "check", "x"]
    before = subprocess.run(control, capture_output=True, text=True, check=True).stderr
    os.kill(int(before.partition("pid=")[2].partition(")")[0]), signal.SIGKILL)
    while subprocess.run(control, capture_output=True, check=False).returncode == 0:
        time.sleep(0.02)
    assert master.is_socket()  # what is left behind keeps a new one from taking the name

    assert place.shore("run", "--", "echo", "a").stdout == "a\n"

    after = subprocess.run(control, capture_output=True, text=True, check=True).stderr
    assert "Master running" in after
    assert after != before


def test_what_a_login_prints_does_no_harm(place: Place, remote: Remote) -> None:
    noisy = remote.folder / "noisy"
    noisy.write_text(f'#!/bin/sh\necho Welcome; echo HTTP/1.1 200 OK\nexec {sys.prefix}/bin/shore "$@"\n')
    noisy.chmod(0o755)

    done = place.shore("login", "ssh://hpc", "--remote-command", str(noisy))

    assert done.code == 0, done
    assert place.shore("run", "--", "echo", "a").stdout == "a\n"


def test_a_server_of_mine_on_another_host_is_reached_there(place: Place, remote: Remote) -> None:
    place.shore("ps")
    place.shore("server", "stop")
    lease = {"host": "hpc", "boot_id": "other", "pid": 1, "v": 1}
    (place.state / "lease.json").write_text(json.dumps(lease))

    done = place.shore("run", "--", "echo", "a")

    assert done.stdout == "a\n", done
    assert "your server runs on hpc" in done.stderr
    assert f"SHORE_STATE_DIR={place.state} shore connect" in (remote.folder / "calls").read_text()
    assert list((remote.home / "run" / "shorepower").glob("*.sock"))


def test_a_host_that_is_gone_is_no_obstacle(place: Place) -> None:
    place.shore("ps")
    place.shore("server", "stop")
    lease = {"host": "nowhere.invalid", "boot_id": "other", "pid": 1, "v": 1}
    (place.state / "lease.json").write_text(json.dumps(lease))

    here = place.shore("run", "--", "echo", "b")

    assert "looking whether it can be started here" in here.stderr
    assert here.stdout == "b\n", here


@pytest.mark.parametrize(
    ("url", "options", "told"),
    [
        ("ssh://nowhere.invalid", [], "cannot be reached"),
        ("ssh://hpc", ["--remote-command", "/none/shore"], "/none/shore"),
        ("ssh://-oProxyCommand=touch%20x", [], "no address of a server"),
    ],
)
def test_a_login_that_fails_keeps_nothing(place: Place, url: str, options: list[str], told: str) -> None:
    done = place.shore("login", url, *options)

    assert done.code in (2, 121)
    assert told in done.stderr
    assert not (place.home / ".config" / "shorepower" / "config.toml").exists()
