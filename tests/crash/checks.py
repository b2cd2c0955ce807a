"""What must be true once everything has ended, whatever was killed on the way."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import apsw

from shorepower.client.client import Client
from shorepower.model.errors import ShorepowerError
from shorepower.model.job import Job
from shorepower.model.lifecycle import Reason, State
from shorepower.model.results import ResultsState

from .array_checks import check_array, check_starts, check_task_folders
from .lives import Ground, processes_with
from .storm import STOPS, Storm, Told

__all__ = ["check_folders", "check_jobs", "check_ledger", "check_processes", "check_store"]

_COLLECT_LIMIT_S = 30.0
"""From the end of a job until its results are collected."""
_LATE_LIMIT_S = 10.0
"""For a late program to come to life and find that it is not wanted."""
_TEMPORARY = re.compile(r".*(\.part|\.tmp|\.new|~)|\.tmp.*|tmp[a-z0-9_]{8}")
"""Names of half-written files, those that `tempfile` gives among them."""
_KEPT = frozenset(
    ("store.db", "blobs", "spool", "work", "secrets", "server.log", "server.lock", "lease.json", "client")
)
"""What a state directory holds. Source: the contract, §6."""


def check_jobs(storm: Storm) -> Iterator[str]:
    """Acknowledged is recovered: every job is known, ended as it must, and its output is byte-exact."""
    for told in storm.told:
        name = told.planned.mark
        for fault in told.faults:
            yield f"{name}: {fault}"
        if told.id is None:
            yield f"{name}: was never acknowledged"
            continue
        try:
            job = storm.client.wait(told.id, timeout_s=0.0 if told.faults else _COLLECT_LIMIT_S)
            if job.array:
                told.tasks = {task.index: task for task in storm.client.tasks(job.id)}
            for check in (check_array,) if job.array else (_check_end, _check_output, _check_results):
                for fault in check(told, job, storm.client):
                    yield f"{name} ({told.id}): {fault}"
        except (ShorepowerError, TimeoutError) as fault:
            yield f"{name} ({told.id}): {type(fault).__name__}: {fault}"
        if not told.followed_to_end:
            yield f"{name} ({told.id}): its reader never came to the end"


def _check_end(told: Told, job: Job, client: Client) -> Iterator[str]:
    planned = told.planned
    stopped = any(operation in told.asked for operation in STOPS)
    if planned.exit_code is None:
        if not stopped:
            yield f"was never stopped, and stands as {job.state} {job.reason}: {job.why}"
        elif job.state is not State.CANCELED or job.reason not in (Reason.STOPPED, Reason.KILLED):
            yield f"was stopped, and ended as {job.state} {job.reason}: {job.why}"
        return
    wanted = State.COMPLETED if planned.exit_code == 0 else State.FAILED
    if (job.state, job.exit_code) != (wanted, planned.exit_code):
        yield (
            f"should be {wanted} with {planned.exit_code}, "
            f"is {job.state} {job.reason} with {job.exit_code}: {job.why}"
        )
    if job.wanted is not None:
        yield f"ended with {job.wanted} still wanted"


def _check_output(told: Told, job: Job, client: Client) -> Iterator[str]:
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    for piece in client.output(job.id):
        if piece.kind == "gap":
            yield f"reading again finds a gap in {piece.stream}"
        if piece.kind == "output":
            kept[piece.stream.value] += piece.data
    whole = told.planned.exit_code is not None
    wanted = {"stdout": told.planned.stdout, "stderr": told.planned.stderr}
    for stream in kept:
        data = told.streams[0, stream]
        if bytes(data) != bytes(kept[stream]):
            yield f"followed {_differ(data, kept[stream])} in {stream} from what is kept"
        fits = data == wanted[stream] if whole else wanted[stream].startswith(bytes(data))
        if not fits:
            yield f"{stream} {_differ(data, wanted[stream])} from what the job wrote"


def _check_results(told: Told, job: Job, client: Client) -> Iterator[str]:
    if told.planned.exit_code is None and job.started_at is None:
        return
    if job.results.state is ResultsState.NONE and not told.planned.results:
        return
    if job.results.state is not ResultsState.READY:
        yield f"its results are {job.results.state}: {job.results.why}"
        return
    listed = {entry.path: entry for entry in client.files(job.id).entries}
    if set(listed) != set(told.planned.results):
        yield f"its results are {sorted(listed)}, not {sorted(told.planned.results)}"
        return
    wanted = [{"path": path, "area": "project", "offset": 0} for path in told.planned.results]
    have: dict[str, bytearray] = {path: bytearray() for path in told.planned.results}
    if wanted:
        for header, body in client.read_files(job.id, wanted):
            have[header["path"]] += body
    for path, data in told.planned.results.items():
        if bytes(have[path]) != data:
            yield f"{path} {_differ(have[path], data)} from what the job wrote"


def check_ledger(storm: Storm, ground: Ground) -> Iterator[str]:
    """Started exactly once; not at all only when it was stopped before."""
    starts = Counter(line.split()[0] for line in ground.ledger.read_text().splitlines())
    for told in storm.told:
        if told.planned.tasks:
            yield from check_starts(told, starts)
            continue
        count = starts.pop(told.id or "", 0)
        stopped = any(operation in told.asked for operation in STOPS)
        if count > 1:
            yield f"{told.planned.mark} ({told.id}) was started {count} times"
        elif count == 0 and not stopped:
            yield f"{told.planned.mark} ({told.id}) was never started"
    for job in starts:
        yield f"{job} was started, but nobody knows of it"


def check_processes(ground: Ground) -> Iterator[str]:
    """No process of any job is left; what is left nevertheless is ended now."""
    mine = {"LEDGER": str(ground.ledger)}
    deadline = time.monotonic() + _LATE_LIMIT_S
    while (left := processes_with(mine)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            os.kill(pid, signal.SIGKILL)
        except OSError:
            continue  # it is gone
        yield f"process {pid} is left: {command[:200]!r}"


def check_folders(storm: Storm, ground: Ground) -> Iterator[str]:
    """No temporary file, no secret, nothing that belongs to no job. The server is stopped."""
    for name in os.listdir(ground.state_dir):
        if name not in _KEPT and not name.startswith("store.db"):
            yield f"{name!r} is left in the state directory"
    for folder in ("blobs", "spool", "work", "secrets"):
        yield from _check_names(ground.state_dir / folder)
    yield from (f"the secret {path.name} is left" for path in _inside(ground.state_dir / "secrets"))
    for told in storm.told:
        yield from check_task_folders(told, ground.state_dir)
    known = {told.id for told in storm.told}
    for folder in ("spool", "work"):
        for path in _inside(ground.state_dir / folder):
            if path.name.rpartition("-")[0] not in known:
                yield f"{folder}/{path.name} belongs to no job"


def _check_names(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if _TEMPORARY.fullmatch(name):
                yield f"{os.path.relpath(os.path.join(parent, name), folder.parent)} is left"


def _inside(folder: Path) -> Iterable[Path]:
    return folder.iterdir() if folder.is_dir() else ()


def check_store(ground: Ground) -> Iterator[str]:
    """SQLite finds nothing wrong. The server is stopped."""
    connection = apsw.Connection(str(ground.state_dir / "store.db"))
    try:
        for statement in ("PRAGMA integrity_check", "PRAGMA foreign_key_check"):
            found = [row for row in connection.execute(statement) if row != ("ok",)]
            if found:
                yield f"{statement} says {found[:5]}"
    finally:
        connection.close()


def _differ(have: bytes | bytearray, wanted: bytes | bytearray) -> str:
    if wanted.startswith(bytes(have)):
        return f"ends after {len(have)} of {len(wanted)} bytes and so differs"
    first = next((at for at, (one, other) in enumerate(zip(have, wanted, strict=False)) if one != other), 0)
    return f"({len(have)} bytes instead of {len(wanted)}) differs at byte {first}"
