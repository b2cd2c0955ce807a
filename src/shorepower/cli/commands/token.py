"""``shore token``: credentials for programs that come over the network."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.requests import TokenInfo

__all__ = ["command", "note_of"]


@click.group("token")
def command() -> None:
    """Tokens for programs that reach the server over the network."""


@command.command("create")
@click.option("--name", default="", metavar="NAME", help="What it is for.")
@click.option(
    "--scope",
    type=click.Choice(["full", "read", "submit"]),
    default="full",
    show_default=True,
    help="Everything; looking only; submitting and looking.",
)
@click.option("--expires", metavar="WHEN", help="A date (2026-03-01) or a time from now (60d).")
@json_option
@server_option
def create(**given: Any) -> None:
    """Make a token and print it: this once, the server keeps only its hash."""
    from .keep import future

    expires = future(given["expires"]) if given["expires"] else None
    with client_of(given["server"]) as client:
        made = client.create_token(given["name"], given["scope"], expires)
    if given["as_json"]:
        from ..render import json

        json.document(made)
        return
    click.echo(made.secret)
    say(f"token {made.token.id}: it is shown this once; shore token revoke {made.token.id} ends it")


@command.command("list")
@json_option
@server_option
def list_tokens(**given: Any) -> None:
    """Your tokens, without their secrets."""
    with client_of(given["server"]) as client:
        known = client.tokens()
    if given["as_json"]:
        from ..render import json

        json.document({"tokens": known})
        return
    if not known:
        say("no tokens")
        return
    from ..render.figures import age
    from ..render.table import columns

    now = datetime.now(UTC)
    rows = []
    for one in known:
        used = f"{age(one.used_at, now)} ago" if one.used_at else "never"
        made = f"{age(one.created_at, now)} ago"
        rows.append((one.id, one.name, one.scope, made, used, note_of(one, now)))
    click.echo(columns(("ID", "NAME", "SCOPE", "MADE", "USED", "NOTE"), rows))


def note_of(one: TokenInfo, now: datetime) -> str:
    """Whether it still works, and until when."""
    if one.revoked_at:
        return "revoked"
    if one.expires_at is None:
        return ""
    return "expired" if one.expires_at <= now else f"until {one.expires_at.astimezone():%Y-%m-%d %H:%M}"


@command.command("revoke")
@server_option
@click.argument("tokens", nargs=-1, required=True, metavar="ID|NAME...")
def revoke(**given: Any) -> None:
    """End tokens, at once. A name will do where only one token that still works has it."""
    with client_of(given["server"]) as client:
        for one in _chosen(given["tokens"], client.tokens()):
            client.revoke_token(one.id)
            say(f"token {one.id}{f' ({one.name})' if one.name else ''} is revoked")


def _chosen(given: Sequence[str], known: Sequence[TokenInfo]) -> list[TokenInfo]:
    """What is meant, each once. Raises NotFound or InvalidRequest with every fault."""
    from ...model.check import unknown
    from ...model.errors import Fault, InvalidRequest, NotFound

    by_id = {one.id: one for one in known}
    living = [one for one in known if one.revoked_at is None]
    chosen: dict[str, TokenInfo] = {}
    missing: list[str] = []
    faults: list[Fault] = []
    for text in dict.fromkeys(given):
        fits = [by_id[text]] if text in by_id else [one for one in living if one.name == text]
        if len(fits) == 1:
            chosen[fits[0].id] = fits[0]
        elif fits:
            which = ", ".join(f"{one.id} (made {one.created_at:%Y-%m-%d})" for one in fits)
            faults.append(Fault("ID|NAME", f"several tokens are called {text!r}; give an id: {which}"))
        else:
            choices = [one.id for one in living] + [one.name for one in living if one.name]
            missing.append(unknown("token", text, dict.fromkeys(choices)))
    if faults:
        raise InvalidRequest([*faults, *(Fault("ID|NAME", sentence) for sentence in missing)])
    if missing:
        raise NotFound("; ".join(missing))
    return list(chosen.values())
