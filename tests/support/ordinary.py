"""Run a piece of a test as an ordinary user, also when the tests run as root."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["NOBODY", "as_ordinary_user", "ordinary_folder"]

NOBODY = 65534


def as_ordinary_user(do: Callable[[], None], uid: int = NOBODY) -> None:
    """Call it in a child that has no privileges; its failure is raised here as AssertionError."""
    if os.getuid() != 0:
        do()
        return
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        failure = b""
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            do()
        except BaseException:
            failure = traceback.format_exc().encode()
        os.write(writer, failure[-60_000:])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        failure = file.read()
    os.waitpid(child, 0)
    if failure:
        raise AssertionError("as an ordinary user:\n" + failure.decode(errors="replace"))


@contextmanager
def ordinary_folder() -> Iterator[Path]:
    """A folder that the ordinary user owns and can reach."""
    folder = Path(tempfile.mkdtemp(prefix="shore-test-"))
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    try:
        yield folder
    finally:
        for inner, _, _ in os.walk(folder):
            os.chmod(inner, 0o700)
        shutil.rmtree(folder, ignore_errors=True)
