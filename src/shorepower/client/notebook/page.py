"""How a job looks in a notebook: HTML and plain text of what is known of it. Pure.

Names and output are data: every character of them is escaped, and what would move a cursor is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from html import escape

from msgspec import Struct

from ...model.job import Job
from ...model.lifecycle import State
from ..names import shown

__all__ = ["Picture", "elapsed", "html_of", "last_lines", "text_of"]

TAIL_LINES = 12
LINE_CHARACTERS = 400

_COLOURS = {
    State.PENDING: "#8a6d00",
    State.RUNNING: "#1a73c8",
    State.SUSPENDED: "#8a6d00",
    State.COMPLETED: "#2e7d32",
    State.FAILED: "#c62828",
    State.CANCELED: "#757575",
}
_ORDER = (State.COMPLETED, State.FAILED, State.CANCELED, State.RUNNING, State.SUSPENDED, State.PENDING)
_BOX = "border-left:3px solid {colour};padding:2px 0 2px 10px;margin:2px 0"
_PRE = (
    "margin:4px 0 0;padding:0;max-height:15em;overflow:auto;white-space:pre-wrap;font-size:90%;opacity:.85"
)
_BAR = "display:flex;height:6px;margin:5px 0 2px;max-width:30em;background:rgba(128,128,128,.25)"
# Source: ECMA-48, 5.4 (control sequences), and xterm's operating system commands.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


class Picture(Struct, frozen=True, kw_only=True):
    """What is shown of a job at one moment."""

    job: Job
    at: datetime
    tail: str = ""
    """The last that it wrote."""
    notes: tuple[str, ...] = ()
    """What came home, what went wrong here."""


def html_of(picture: Picture) -> str:
    """A block that stands alone, readable on light and dark."""
    job = picture.job
    colour = _COLOURS[job.state]
    parts = [
        f"<b>{_safe(job.name)}</b>",
        f"<code>{_safe(job.id)}</code>",
        f'<b style="color:{colour}">{_safe(job.state.value)}</b>',
        *map(_safe, _facts(picture)),
    ]
    lines = [f"<div>{' · '.join(parts)}</div>"]
    if job.array and job.task_count > 1:
        lines.append(_bar(job.counts, job.task_count))
    lines += [f"<div>{_safe(note)}</div>" for note in picture.notes]
    if tail := last_lines(picture.tail):
        lines.append(f'<pre style="{_PRE}">{escape(tail)}</pre>')
    return f'<div class="shorepower-job" style="{_BOX.format(colour=colour)}">{"".join(lines)}</div>'


def text_of(picture: Picture) -> str:
    """The same in one line, for where there is no HTML."""
    job = picture.job
    head = f"{shown(job.name)} ({shown(job.id)}) {job.state.value}"
    return ", ".join([head, *map(shown, _facts(picture)), *map(shown, picture.notes)])


def elapsed(job: Job, at: datetime) -> str:
    """``4 s``, ``3 min 20 s``, ``2 h 5 min``; empty before the start."""
    if job.started_at is None:
        return ""
    seconds = max(0, int(((job.ended_at or at) - job.started_at).total_seconds()))
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def last_lines(text: str, most: int = TAIL_LINES) -> str:
    """The end of an output as a screen would show it: of a line that was overwritten only the last."""
    plain = _SEQUENCE.sub("", text).replace("\r\n", "\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in plain.rstrip("\n").split("\n")]
    return "\n".join(_visible(line)[:LINE_CHARACTERS] for line in lines[-most:])


def _facts(picture: Picture) -> list[str]:
    job, found = picture.job, [f"on {picture.job.cluster}"]
    if time := elapsed(job, picture.at):
        found.append(time)
    if job.array and job.task_count > 1:
        done = sum(count for state, count in job.counts.items() if State(state).ended)
        found.append(f"{done} of {job.task_count} tasks ended")
    if job.progress is not None and not job.state.ended:
        told = job.progress
        share = f"{told.fraction:.0%}" if told.fraction is not None else ""
        found.append(" ".join(word for word in (share, told.text) if word))
    if job.why and job.state not in (State.COMPLETED, State.RUNNING):
        found.append(job.why)
    if job.stale_since is not None:
        found.append("its cluster does not answer")
    return found


def _bar(counts: Mapping[State, int], total: int) -> str:
    shares = [
        f'<span style="width:{100 * counts[state] / total:.2f}%;background:{_COLOURS[state]}"></span>'
        for state in _ORDER
        if counts.get(state) and state is not State.PENDING
    ]
    return f'<div style="{_BAR}">{"".join(shares)}</div>'


def _safe(text: str) -> str:
    return escape(shown(text))


def _visible(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(
        letter if letter.isprintable() or letter == "\t" else "\N{REPLACEMENT CHARACTER}" for letter in line
    )
