"""``shore server``: the user's own server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, json_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.client import Client

__all__ = ["command"]


def _own() -> Client:
    """A client of the user's own server, wherever it listens; none is started."""
    from ...client.served import living_socket

    client = client_of("private", start=False)
    places = client.settings.places
    path = living_socket(places)
    if path in (None, places.socket):
        return client
    client.close()
    return client_of(f"unix://{path}", start=False)


@click.group("server")
def command() -> None:
    """Your own server on this machine. It starts and ends by itself; these are for looking after it."""


@command.command("start")
def start() -> None:
    """Start it, if it does not run."""
    with client_of("private") as client:
        info = client.server()
    say(f"your server runs: shorepower {info.version}, process {info.pid} on {info.host}")


@command.command("stop")
def stop() -> None:
    """End it; jobs go on without it, and the next command starts it again."""
    from ...client import requests
    from ...client.autostart import wait_until_gone
    from ...model.errors import Unreachable
    from ...model.resources import counted

    with _own() as client:
        try:
            running = client.transport.call(requests.stop_server())
        except Unreachable:
            say("no server was running")
            return
        gone = wait_until_gone(client.transport.address.socket or client.settings.places.socket)
    goes = "goes on" if running == 1 else "go on"
    jobs = f"{counted(running, 'job')} {goes}" if running else "no job was running"
    say(f"your server {'has stopped' if gone else 'is stopping'}; {jobs}")


@command.command("status")
@json_option
@click.pass_context
def status(ctx: click.Context, /, **given: Any) -> None:
    """Whether it runs, where, and with how many jobs. Exit code 121 when it does not."""
    from ...model.errors import Unreachable

    with _own() as client:
        places = client.settings.places
        try:
            info = client.server()
        except Unreachable:
            if given["as_json"]:
                raise
            say(f"your server does not run; the next command starts it (state: {places.state_dir})")
            ctx.exit(121)
    if given["as_json"]:
        from ..render import json

        socket = client.transport.address.socket or places.socket
        json.document({**{name: getattr(info, name) for name in info.__struct_fields__}, "socket": socket})
        return
    from ..render.table import pairs

    jobs = ", ".join(f"{count} {state.lower()}" for state, count in info.counts.items() if count)
    started = f"{info.started_at.astimezone():%Y-%m-%d %H:%M:%S}" if info.started_at else ""
    rows = [
        ("version", info.version),
        ("process", f"{info.pid} on {info.host}, since {started}"),
        ("jobs", jobs or "none"),
        ("state", info.state_dir),
        ("socket", client.transport.address.socket or places.socket),
        ("log", f"{info.state_dir}/server.log"),
    ]
    click.echo(pairs(rows))
