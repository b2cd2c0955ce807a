"""A file system with no room left: the ends of jobs are still recorded, and so is what makes room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_WITH_A_SMALL_DISK = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
_MOUNT = 'mount -t tmpfs -o size=40m none "$1"'

WRITES_ON_A_FULL_DISK = """
import errno, os, sys, anyio
from support.store_records import submit
from shorepower.store.contract import JobQuery
from shorepower.store.sqlite import open_store

def fill(place):
    fd = os.open(place, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC

async def main():
    store = await open_store(os.path.join(sys.argv[1], "store.db"))
    await store.write(submit)
    fill(os.path.join(sys.argv[1], "filled"))
    for _ in range(300):
        await store.write(submit)
    await store.aclose()
    store = await open_store(os.path.join(sys.argv[1], "store.db"))
    print(len(await store.read(lambda view: view.jobs(JobQuery(limit=400)))))
    await store.aclose()

anyio.run(main)
"""


def _can_mount(folder: Path) -> bool:
    if shutil.which("unshare") is None:
        return False
    command = [*_WITH_A_SMALL_DISK, _MOUNT, "sh", str(folder)]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


def test_three_hundred_writes_fit_on_a_disk_that_is_full(tmp_path: Path) -> None:
    if not _can_mount(tmp_path):
        pytest.skip("no file system of its own can be mounted here")
    script = tmp_path.parent / f"{tmp_path.name}.py"
    script.write_text(WRITES_ON_A_FULL_DISK)
    command = [*_WITH_A_SMALL_DISK, f'{_MOUNT} && exec "$2" "$3" "$1"', "sh"]
    ended = subprocess.run(
        [*command, str(tmp_path), sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == ("301\n", "")
