"""``shore whoami``: which server, and who one is there."""

from __future__ import annotations

from typing import Any

import click

from ..verbs import client_of, json_option, server_option

__all__ = ["command"]


@click.command("whoami")
@json_option
@server_option
def command(**given: Any) -> None:
    """Which server your commands reach, and whom it takes you for."""
    with client_of(given["server"]) as client:
        caller, info = client.whoami(), client.server()
        label = client.transport.address.label
    if given["as_json"]:
        from ..render import json

        json.document({"caller": caller, "server": info})
        return
    from ..render.table import pairs

    private = "your own" if info.private else "shared"
    rows = [
        ("user", f"{caller.user} ({caller.scope.value}, by {caller.via})"),
        ("server", f"{label}: {private}, on {info.host}, shorepower {info.version}"),
        ("logins", ", ".join(_logins(client))),
    ]
    click.echo(pairs(rows))


def _logins(client: Any) -> list[str]:
    servers = client.settings.servers
    return [f"{name} {login.url}{' (default)' if login.default else ''}" for name, login in servers.items()]
