"""What a request may say: checked to the last field before anything is done for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .values import NO_UID, are_texts, are_variables, is_number, is_path

__all__ = ["MARKS", "MOST_BYTES", "SIGNALS", "STARTS", "No", "decode"]

MOST_BYTES = 192 << 10
"""Of a request. A packet has to fit the socket's buffer, by default 208 KiB. Source: socket(7)."""
MARKS = ("SHOREPOWER_JOB_ID", "SHOREPOWER_ATTEMPT", "SHOREPOWER_TASK_INDEX")
"""Variables that tell a job's processes, the first two always."""
SIGNALS = ("SIGTERM", "SIGKILL", "SIGSTOP", "SIGCONT", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")
STARTS = ("spawn", "command", "files")
"""What is asked for with three descriptors."""


class No(Exception):
    """A request that is refused. ``kind``: request, user, gone, busy or os (with the error's number)."""

    def __init__(self, kind: str, why: str, number: int = 0) -> None:
        super().__init__(why)
        self.told = {"kind": kind, "why": why, "errno": number}


_UID: dict[str, Callable[[Any], bool]] = {"uid": lambda v: is_number(v, 1, NO_UID - 1)}
_ARGV: dict[str, Callable[[Any], bool]] = {"argv": lambda v: are_texts(v) and bool(v)}
_FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "spawn": _UID
    | _ARGV
    | {
        "env": are_variables,
        "cwd": is_path,
        "umask": lambda v: is_number(v, 0, 0o777),
        "nice": lambda v: is_number(v, 0, 19),
    },
    "command": _UID | _ARGV,
    "files": _UID,
    "signal": _UID
    | {
        "pid": lambda v: is_number(v, 2, 1 << 22),
        "start_time": lambda v: is_number(v, 1, 1 << 62),
        "signal": lambda v: isinstance(v, str) and v in SIGNALS,
        "marks": lambda v: are_variables(v) and set(v) <= set(MARKS),
    },
}


def decode(data: bytes) -> dict[str, Any]:
    """A request, each of its fields checked. Raises No, which tells every fault."""
    try:
        request = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise No("request", "not one JSON object in UTF-8, each key once") from None
    do = request.get("do") if isinstance(request, dict) else None
    if not isinstance(do, str) or do not in _FIELDS:
        raise No("request", f"do is one of: {', '.join(_FIELDS)}")
    fields = _FIELDS[do] | {"do": bool, "v": lambda v: is_number(v, 1, 1)}
    faults = [f"{name} is missing" for name in fields if name not in request]
    faults += [f"no field {name[:40]!r} in {do}" for name in request if name not in fields]
    faults += [
        f"{name} cannot be that" for name in fields if name in request and not fields[name](request[name])
    ]
    if faults:
        raise No("request", "; ".join(faults[:20]))
    return request


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("a key twice")
    return told
