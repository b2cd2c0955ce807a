"""``shore login``: a server elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..voice import is_terminal, say

if TYPE_CHECKING:
    from ...client.address import Address
    from ...client.settings import Login, Settings

__all__ = ["command"]


@click.command("login")
@click.argument("url", metavar="URL")
@click.option("--as", "name", metavar="NAME", help="What to call it; the host's name otherwise.")
@click.option("--no-default", is_flag=True, help="Commands go on using the server that they use now.")
@click.option(
    "--token-file", metavar="FILE", help="For https://: a file with the token; asked for otherwise."
)
@click.option("--remote-command", metavar="PATH", help="For ssh://: where shore is over there.")
def command(**given: Any) -> None:
    """Use a server elsewhere from now on.

    \b
    shore login ssh://ada@hpc.example.org    your own server there, through ssh
    shore login https://shore.example.org    a shared server, with a token

    ssh asks what it asks, once for all commands of four hours. --as and --server NAME keep several apart.
    """
    from msgspec.structs import replace

    from ...client.address import parse_address
    from ...client.logins import check_name, keep_login
    from ...client.settings import load_settings

    address = parse_address(given["url"])
    settings = load_settings(os.environ)
    name = check_name(given["name"] or (address.ssh.rpartition("@")[2] or address.host or "server"))
    made = _login(address, settings, name, given)
    greeting = _try(settings, name, replace(made, default=not given["no_default"]))
    keep_login(settings.places, name, replace(made, default=not given["no_default"]))
    say(greeting)
    if given["no_default"]:
        say(f"use it with --server {name} or SHORE_SERVER={name}")
    else:
        say(
            f"it is your default server now; --server private is the one on this machine, "
            f"shore logout {name} ends it"
        )


def _login(address: Address, settings: Settings, name: str, given: dict[str, Any]) -> Login:
    from ...client.settings import Login

    if address.ssh:
        from ...client.ssh import user_has_master

        return Login(
            url=given["url"],
            remote_command=given["remote_command"] or "",
            keep_connection=not user_has_master(address),
        )
    if address.socket:
        return Login(url=given["url"])
    from ...client.logins import keep_token

    return Login(url=given["url"], token_file=str(keep_token(settings.places, name, _token(given))))


def _token(given: dict[str, Any]) -> str:
    import sys

    if given["token_file"]:
        try:
            return Path(given["token_file"]).expanduser().read_text().strip()
        except OSError as error:
            raise click.UsageError(f"--token-file {given['token_file']}: {error.strerror}") from None
    if not is_terminal(sys.stdin):
        raise click.UsageError("there is no terminal to ask for the token at: give --token-file FILE")
    return click.prompt("shore: token", hide_input=True, err=True).strip()


def _try(settings: Settings, name: str, login: Login) -> str:
    """Reach the server once, before anything is kept. Raises what stands in the way."""
    from msgspec.structs import replace

    from ...client.client import Client

    servers = {**settings.servers, name: login}
    try:
        with Client(name, settings=replace(settings, servers=servers), say=say) as client:
            caller, info = client.whoami(), client.server()
    except BaseException:
        if login.token_file:
            Path(login.token_file).unlink(missing_ok=True)
        raise
    return f"{name}: you are {caller.user} on {info.host}, shorepower {info.version}"
