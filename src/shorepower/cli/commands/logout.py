"""``shore logout``: forget a server."""

from __future__ import annotations

import os
from typing import Any

import click

from ..voice import say

__all__ = ["command"]


@click.command("logout")
@click.argument("name", required=False, metavar="[NAME]")
def command(**given: Any) -> None:
    """Forget a server and its token; jobs there go on. Without NAME: the default one."""
    from ...client.address import parse_address
    from ...client.logins import forget_login
    from ...client.settings import load_settings

    settings = load_settings(os.environ)
    marked = [name for name, login in settings.servers.items() if login.default]
    name = given["name"] or (marked[0] if marked else "")
    if not name:
        raise click.UsageError(
            "there is no default login; name one: " + (", ".join(settings.servers) or "there are none")
        )
    login = forget_login(settings, name)
    address = parse_address(login.url)
    if address.ssh:
        from ...client.ssh import close_master

        close_master(address, settings.places)
    say(f"{name} is forgotten")
