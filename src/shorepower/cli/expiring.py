"""Results that nobody fetched and that go soon are told unasked: one line, and the server hears of it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .voice import is_terminal, say

if TYPE_CHECKING:
    from ..client.client import Client
    from ..model.results import ExpiringResults

__all__ = ["expiring_line", "remind", "remind_daily"]


def remind_daily(client: Client) -> None:
    """As `remind`, at most once a day; that day begins with the question, not with an answer."""
    from ..client.reminded import Reminded

    now = datetime.now(UTC)
    reminded = Reminded(client.settings.places.client_dir, client.transport.address.label)
    if not reminded.lately(now):
        reminded.note(now)
        remind(client)


def remind(client: Client, *, asked: bool = False) -> None:
    """Say it, if there is something to say. It counts as shown where a person reads it: at a terminal, or
    when it was ``asked`` for. A server that does not know the question is no reason to fail."""
    from ..model.errors import ShorepowerError

    try:
        expiring = client.expiring()
        if not expiring.count:
            return
        say(expiring_line(expiring))
        if asked or is_terminal(sys.stderr):
            client.warned(expiring.as_of)
    except (ShorepowerError, OSError):
        return


def expiring_line(expiring: ExpiringResults) -> str:
    """``3 jobs have results that nobody fetched and that go from 2026-12-03 on: …``."""
    from .render.figures import format_bytes, short_id

    day = f"{expiring.first_at.astimezone():%Y-%m-%d}" if expiring.first_at else "soon"
    if expiring.count == 1 and expiring.jobs:
        one = expiring.jobs[0]
        name = short_id(one.id)
        return (
            f"nobody fetched the results of {one.name} ({name}, {format_bytes(one.size_bytes)}); they go "
            f"on {day}: shore pull {name} · shore keep {name}"
        )
    return (
        f"{expiring.count} jobs have results that nobody fetched ({format_bytes(expiring.size_bytes)}) and "
        f"that go from {day} on: shore du --expiring · shore pull ID · shore keep ID"
    )
