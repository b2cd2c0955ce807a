"""A full disk, at every moment: refused or waiting in words, nothing half-done, over once there is room."""

import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.place import Done, Place, a_place

pytestmark = [pytest.mark.flow, pytest.mark.timeout(200)]

SMALL, LARGE = "48m", "250m"
LIMIT_S = 90.0


class Disk:
    """A small file system for the state directory, which can be made larger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SMALL},mode=700", "tmpfs", folder], check=True
        )

    def make_room(self) -> None:
        subprocess.run(["mount", "-o", f"remount,size={LARGE}", self.folder], check=True)

    def fill(self, left: int) -> None:
        """Leave at most so many bytes, whatever a server writes meanwhile."""
        with (self.folder / "ballast").open("wb") as file:
            while (free := self._free()) > left:
                try:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free - left)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def _free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def close(self) -> None:
        subprocess.run(["umount", "-l", self.folder], check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.getuid() != 0:
        pytest.skip("only root can make a small file system")
    try:
        made = Disk(tmp_path / "state")
    except subprocess.CalledProcessError:
        pytest.skip("this container may not mount anything")
    yield made
    made.close()


@pytest.fixture
def place(tmp_path: Path, disk: Disk) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        made.write("pyproject.toml", "")
        made.shore("ps")
        yield made
        disk.make_room()


def until(condition: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def shown(place: Place) -> dict:
    return place.shore("show", "--json", "@-1").json


def ended(run: subprocess.Popen[bytes]) -> Done:
    stdout, stderr = run.communicate(timeout=LIMIT_S)
    return Done(run.returncode, stdout, stderr)


def test_full_at_upload_nothing_is_submitted(place: Place, disk: Disk) -> None:
    place.write("big.bin", os.urandom(40 << 20))
    place.write("a.sh", "wc -c < big.bin\n")

    done = place.shore("run", "a.sh")

    assert done.code not in (0, 120), done
    assert "No space left" in done.stderr or "full" in done.stderr
    assert done.stdout == ""
    assert place.shore("ps", "-a", "--ids").stdout == ""
    leftovers = [path for path in (place.state / "blobs").rglob("*") if path.suffix in (".part", ".tmp")]
    assert leftovers == []
    disk.make_room()
    done = place.shore("run", "a.sh")
    assert (done.code, done.stdout.strip()) == (0, str(40 << 20)), done


def test_full_when_it_is_laid_out_it_waits_with_the_reason(place: Place, disk: Disk) -> None:
    place.write("big.bin", os.urandom(16 << 20))
    place.write("a.sh", "wc -c < big.bin\n")

    run = place.start("run", "a.sh")

    until(lambda: place.shore("ps", "-a", "--ids").stdout and "full" in shown(place)["why"],
          lambda: place.shore("ps"))  # fmt: skip
    assert shown(place)["state"] == "PENDING"
    disk.make_room()
    done = ended(run)
    assert (done.code, done.stdout.strip()) == (0, str(16 << 20)), done


def test_full_by_the_job_itself_its_end_is_not_lost(place: Place, disk: Disk) -> None:
    place.write(
        "fill.sh",
        "echo begin\nhead -c 100000000 /dev/zero > big.bin 2> err.txt; echo wrote $?\nexit 9\n",
    )

    run = place.start("run", "fill.sh")
    assert run.stdout is not None
    assert run.stdout.readline() == b"begin\n"
    job = place.shore("ps", "--ids").stdout.split()[0]
    until(lambda: not _alive(job), lambda: place.shore("ps"))
    disk.make_room()

    done = ended(run)
    assert done.code == 9, done
    told = shown(place)
    assert (told["state"], told["exit_code"]) == ("FAILED", 9)


def test_full_while_it_writes_output_it_says_so_or_goes_on(place: Place, disk: Disk) -> None:
    """What a job cannot write is its own affair; what it could is kept and read."""
    place.write("talk.sh", "echo begin\nhead -c 60000000 /dev/zero | tr '\\0' x\nexit 3\n")

    run = place.start("run", "talk.sh")
    assert run.stdout is not None
    begin = run.stdout.readline()
    job = place.shore("ps", "--ids").stdout.split()[0]
    until(lambda: not _alive(job), lambda: place.shore("ps"))
    disk.make_room()

    done = ended(run)
    assert begin == b"begin\n"
    assert done.code == 3, done
    assert set(done.raw) <= {ord("x")}


def test_full_when_results_are_collected_they_come_home_later(place: Place, disk: Disk) -> None:
    place.write("a.sh", 'echo made > made.txt; echo ready; while [ ! -e "$GO" ]; do sleep 0.1; done\n')
    go = place.home / "go"
    run = place.start("run", "-e", f"GO={go}", "a.sh")
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"

    disk.fill(left=0)
    go.touch()
    time.sleep(1.0)  # the job ends on a full disk, whatever the server does then
    (disk.folder / "ballast").unlink()

    done = ended(run)
    assert done.code == 0, done
    assert shown(place)["results"]["state"] == "ready"
    assert (place.project / "made.txt").read_text() == "made\n"


def test_a_server_starts_and_answers_on_a_full_disk(place: Place, disk: Disk) -> None:
    job = place.shore("submit", "--", "sh", "-c", "sleep 1; exit 4").stdout.strip()
    disk.fill(left=0)
    place.kill()

    listed = place.shore("ps", "--ids", "-a")

    assert (listed.code, listed.stdout.split()) == (0, [job]), listed
    more = place.shore("submit", "--", "true")
    if more.code != 0:  # whether there is room for one more line in the store is a matter of luck
        assert "full" in more.stderr or "No space left" in more.stderr, more
    (disk.folder / "ballast").unlink()
    assert place.shore("wait", job).code == 4
    assert place.shore("run", "--", "echo", "again").stdout == "again\n"
    accepted = {job, *more.stdout.split()}
    assert accepted < set(place.shore("ps", "-a", "--ids").stdout.split())
    assert all(place.shore("wait", one).code in (0, 4) for one in accepted)


def _alive(job: str) -> bool:
    """Whether a process of the job lives."""
    mark = f"SHOREPOWER_JOB_ID={job}".encode()
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in file.read_bytes().split(b"\0"):
                return True
        except OSError:
            continue  # it ended meanwhile
    return False
