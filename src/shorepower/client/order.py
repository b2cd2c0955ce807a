"""What a job comes after, and when it may start at the earliest, as people write it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ..model.dependency import Dependency, Want
from ..model.errors import Fault, InvalidRequest, NotFound
from ..model.names import quoted
from ..model.resources import parse_duration

if TYPE_CHECKING:
    from .client import Client

__all__ = ["OPTION_OF", "comes_after", "parse_dependency", "parse_moment"]

OPTION_OF = {Want.START: "--after", Want.OK: "--after-ok", Want.ANY: "--after-any"}
# Source: sbatch(1), --dependency.
_SBATCH = {"after": Want.START, "afterok": Want.OK, "afterany": Want.ANY}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def parse_dependency(text: str) -> dict[Want, tuple[str, ...]]:
    """Names of jobs by what is wanted of them, of sbatch's ``afterok:ID:ID,afterany:ID``. Raises ValueError
    in words."""
    found: dict[Want, tuple[str, ...]] = {}
    for part in text.split(","):
        kind, *names = part.split(":")
        if kind not in _SBATCH or not names or not all(names):
            known = ", ".join(f"{word}:ID[:ID]" for word in _SBATCH)
            raise ValueError(f"{text!r}: {part!r} is no dependency known here; write {known}")
        wants = _SBATCH[kind]
        found[wants] = (*found.get(wants, ()), *names)
    return found


def parse_moment(text: str, now: datetime) -> datetime:
    """The moment of ``+2h``, ``now+2h``, ``14:30`` (the next one), ``2026-12-01``, ``2026-12-01T14:30`` or
    one with a time zone; without one it is that of ``now``, which is aware. Raises ValueError in words."""
    wrong = ValueError(
        f"{text!r} is no moment; write +2h, 14:30, 2026-12-01, 2026-12-01T14:30 or 2026-12-01T14:30+01:00"
    )
    given = text.strip().removeprefix("now")
    if given.startswith("+"):
        return now + timedelta(seconds=parse_duration(given[1:]))
    try:
        if clock := _CLOCK.fullmatch(given):
            hour, minute, second = (int(part or 0) for part in clock.groups())
            today = now.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return today if today > now else today + timedelta(days=1)
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise wrong from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=now.tzinfo)


def comes_after(
    client: Client, wanted: Iterable[tuple[Want, Iterable[str]]]
) -> tuple[tuple[Dependency, ...], list[Fault]]:
    """(what is meant by names of jobs: ``ID``, ``@name``, ``@-1``, ``ID_7``; what is wrong with them)."""
    found: list[Dependency] = []
    faults: list[Fault] = []
    for wants, names in wanted:
        for name in names:
            try:
                found += _meant(client, wants, name)
            except (InvalidRequest, NotFound) as wrong:
                faults.append(Fault("after", f"{OPTION_OF[wants]} {quoted(name)}: {wrong}"))
    return tuple(dict.fromkeys(found)), faults


def _meant(client: Client, wants: Want, name: str) -> list[Dependency]:
    job, indices = client.named(name)
    if indices is None:
        return [Dependency(job=job.id, wants=wants)]
    return [
        Dependency(job=job.id, task=task.index, wants=wants)
        for task in client.tasks(job.id, indices=indices)
    ]
