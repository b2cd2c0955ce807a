"""The jobs of a storm: small shell programs that write down by themselves that they started.

Each job appends one line to a ledger outside the state directory before anything else, so that a job
that was started twice is seen without asking the server. What it writes and how it ends is known.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from msgspec import Struct

from shorepower.model.job import JobSpec
from shorepower.model.lifecycle import Operation
from shorepower.model.tree import TreeEntry, digest_of, encode_tree

from .arrays import ARRAYS, PlannedTask

__all__ = ["KINDS", "Planned", "Project", "plan"]

_LEDGER = 'printf "%s %s %s\\n" "$SHOREPOWER_JOB_ID" "$SHOREPOWER_ATTEMPT" "$$" >> "$LEDGER"\n'

_CHATTER = """
i=0
while [ $i -lt $LINES_OUT ]; do
  printf 'out %s %04d %s\\n' "$MARK" $i "$PAD"
  printf 'err %s %04d\\n' "$MARK" $i >&2
  [ -z "$PAUSE" ] || sleep "$PAUSE"
  i=$((i + 1))
done
"""

_END = 'exit "$CODE"\n'

# The second child is out of the group's reach: a session of its own, found by its environment only.
_ENDLESS = """
sleep 1000 &
setsid sleep 1000 &
while :; do sleep 0.2; done
"""

_SECRET = """
[ "$TOKEN" = "$(printf 'v-%s' "$MARK")" ] && echo "secret fits" || echo "secret is wrong"
"""

_PROJECT = """
mkdir -p out
cat in/numbers.txt > out/copy.txt
printf 'made by %s\\n' "$MARK" > out/made.txt
"""

_INPUT = "cat\n"

PAD = "." * 200
NUMBERS = b"".join(b"%d\n" % number for number in range(5_000))


class Project(Struct, frozen=True, kw_only=True):
    """A snapshot: its blobs, and the digest of its root."""

    blobs: dict[str, bytes]
    tree: str


class Planned(Struct, frozen=True, kw_only=True):
    """A job to submit, and what must become of it."""

    mark: str
    kind: str
    spec: JobSpec
    key: str
    secrets: dict[str, str] = {}
    project: Project | None = None
    stdin: bytes = b""
    operations: tuple[Operation, ...] = ()
    """What is asked of it once it is acknowledged."""
    exit_code: int | None = 0
    """None: it ends only because it is stopped."""
    stdout: bytes = b""
    """Whole; for a job that is stopped, what it can have written at most."""
    stderr: bytes = b""
    results: dict[str, bytes] = {}
    """Path → content of what comes out."""
    tasks: dict[int, PlannedTask] = {}
    """By index: what must become of the tasks of an array, instead of how it ends and what it writes."""
    some: str | None = None
    """The operations are for these tasks only."""


def _spec(mark: str, script: str, env: dict[str, str], **more: object) -> JobSpec:
    return JobSpec(
        name=mark,
        cluster="local",
        argv=("/bin/sh", "-c", _LEDGER + script),
        env={"PATH": "/usr/bin:/bin", "MARK": mark, "PAD": PAD, **env},
        grace_s=1.0,
        **more,  # type: ignore[arg-type]
    )


def _chatter(mark: str, lines: int) -> tuple[bytes, bytes]:
    out = "".join(f"out {mark} {i:04d} {PAD}\n" for i in range(lines))
    err = "".join(f"err {mark} {i:04d}\n" for i in range(lines))
    return out.encode(), err.encode()


def _plain(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    lines, code = dice.randrange(4), dice.choice((0, 0, 0, 1, 3, 77, 200))
    out, err = _chatter(mark, lines)
    env |= {"LINES_OUT": str(lines), "CODE": str(code)}
    return {"spec": _spec(mark, _CHATTER + _END, env), "exit_code": code, "stdout": out, "stderr": err}


def _chatty(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    lines = dice.randrange(10, 40)
    out, err = _chatter(mark, lines)
    env |= {"LINES_OUT": str(lines), "CODE": "0", "PAUSE": "0.03"}
    return {"spec": _spec(mark, _CHATTER + _END, env), "stdout": out, "stderr": err}


def _suspended(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    asked = (Operation.SUSPEND, Operation.RESUME)
    return {**_chatty(mark, env, dice), "operations": asked}


def _endless(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    out, err = _chatter(mark, 2)
    env |= {"LINES_OUT": "2"}
    return {"spec": _spec(mark, _CHATTER + _ENDLESS, env), "exit_code": None, "stdout": out, "stderr": err}


def _stopped(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    return {**_endless(mark, env, dice), "operations": (Operation.STOP,)}


def _killed(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    return {**_endless(mark, env, dice), "operations": (Operation.KILL,)}


def _secret(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    spec = _spec(mark, _SECRET, env, secrets=("TOKEN",))
    return {"spec": spec, "secrets": {"TOKEN": f"v-{mark}"}, "stdout": b"secret fits\n"}


def _project(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    numbers = NUMBERS + f"{mark}\n".encode()
    inside = encode_tree([_file(b"numbers.txt", numbers)])
    folder = TreeEntry(
        name=b"in",
        kind="dir",
        mode=0o755,
        mtime_ns=_MTIME_NS,
        size_bytes=len(numbers),
        digests=(digest_of(inside),),
    )
    root = encode_tree([folder])
    blobs = {digest_of(data): data for data in (numbers, inside, root)}
    return {
        "spec": _spec(mark, _PROJECT, env, tree=digest_of(root)),
        "project": Project(blobs=blobs, tree=digest_of(root)),
        "results": {"out/copy.txt": numbers, "out/made.txt": f"made by {mark}\n".encode()},
    }


def _fed(mark: str, env: dict[str, str], dice: random.Random) -> dict[str, object]:
    data = f"input of {mark}\n".encode() * 100
    return {"spec": _spec(mark, _INPUT, env, stdin=(digest_of(data),)), "stdin": data, "stdout": data}


_MTIME_NS = 1_700_000_000_123_456_789


def _file(name: bytes, data: bytes) -> TreeEntry:
    return TreeEntry(
        name=name,
        kind="file",
        mode=0o644,
        mtime_ns=_MTIME_NS,
        size_bytes=len(data),
        digests=(digest_of(data),),
    )


_PLAIN: dict[str, Callable[[str, dict[str, str], random.Random], dict[str, object]]] = {
    "plain": _plain,
    "chatty": _chatty,
    "suspended": _suspended,
    "stopped": _stopped,
    "killed": _killed,
    "secret": _secret,
    "project": _project,
    "fed": _fed,
}
_KINDS = _PLAIN | ARRAYS
KINDS = sorted(_KINDS, key=lambda kind: (list(_PLAIN if kind in _PLAIN else ARRAYS).index(kind), kind))
"""In the order of their turns: plain jobs and arrays mixed."""


def plan(number: int, seed: int, ledger: str) -> Planned:
    """The job of one number; the same for the same seed. All kinds take turns."""
    dice = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    mark = f"{kind}-{number:05d}"
    made = _KINDS[kind](mark, {"LEDGER": ledger}, dice)
    return Planned(mark=mark, kind=kind, key=f"key-{seed}-{number}", **made)  # type: ignore[arg-type]
