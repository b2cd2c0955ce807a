"""The runner as a job would start it: its tree laid out, an interpreter that knows nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shorepower.client.python import payload
from shorepower.client.python.tree import SCRIPT, RunnerTree, runner_tree
from shorepower.client.python.values import Record, RecordReader
from shorepower.model.tree import decode_tree

__all__ = ["BARE", "Ran", "Stage", "one_task"]

BARE = getattr(sys, "_base_executable", sys.executable)
"""The interpreter without this environment's packages."""
LIMIT_S = 60


class Ran:
    """One run that has ended."""

    def __init__(self, code: int, stdout: str, stderr: str, records: list[Record]) -> None:
        self.code, self.stdout, self.stderr, self.records = code, stdout, stderr, records

    @property
    def value(self) -> Any:
        """Of the one record of a value."""
        (record,) = (record for record in self.records if record.kind == "value")
        return record.unpickle()

    @property
    def error(self) -> Record:
        """The one record of an error."""
        (record,) = (record for record in self.records if record.kind == "error")
        return record


class Stage:
    """A folder in which runs take place."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, folder / "project"
        self.log = folder / "log"
        lay_out(runner_tree(folder / "cache"), self.project)

    def run(
        self,
        made: payload.Input,
        *flags: str,
        python: str = BARE,
        env: Mapping[str, str] = {},
        script: str = SCRIPT,
    ) -> Ran:
        """Run an input to its end."""
        source = self.folder / "input"
        source.write_bytes(b"".join([made.head, *made.views]))
        facts = {"SHOREPOWER_INPUT": str(source), "SHOREPOWER_RESULT": str(self.log)}
        done = subprocess.run(
            [python, *flags, script],
            cwd=self.project,
            env={"PATH": os.environ["PATH"], **facts, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr, self.records())

    def records(self) -> list[Record]:
        """What is on record."""
        return RecordReader().feed(self.log.read_bytes()) if self.log.exists() else []

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Ran:
        """Run a call in the bare interpreter, isolated."""
        self.log.unlink(missing_ok=True)
        return self.run(payload.call_input(function, args, kwargs), "-I", "-S")


def lay_out(tree: RunnerTree, folder: Path) -> None:
    """What staging does."""

    def fill(digest: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        for entry in decode_tree(tree.blobs[digest]):
            path = folder / entry.name.decode()
            if entry.kind == "dir":
                fill(entry.digests[0], path)
            else:
                path.write_bytes(b"".join(tree.blobs[digest] for digest in entry.digests))

    fill(tree.root, folder)


def one_task(count: int) -> int:
    """All items in one task."""
    return 1
