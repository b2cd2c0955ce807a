"""``shore doctor``: what is found on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, json_option, server_option
from ..voice import clean, colour, paint

if TYPE_CHECKING:
    from ...client.client import Client

__all__ = ["command"]

LOW_DISK_BYTES = 1 << 30
_GOOD, _NOTE, _BAD = "ok", "note", "fault"
_PAINTS = {_GOOD: "green", _NOTE: "yellow", _BAD: "red"}


@click.command("doctor")
@json_option
@server_option
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """What shorepower finds on this machine: server, clusters, programs, places. Exit code 1 at a fault."""
    findings = [*_here()]
    with client_of(given["server"]) as client:
        findings += [*_places(client), *_server(client), *_programs(client)]
    if given["as_json"]:
        from ..render import json

        json.document(
            {"findings": [dict(zip(("kind", "what", "text"), one, strict=True)) for one in findings]}
        )
    else:
        _print(findings)
    ctx.exit(int(any(kind == _BAD for kind, _, _ in findings)))


def _print(findings: list[tuple[str, str, str]]) -> None:
    import sys

    on = colour(sys.stdout)
    width = max(len(what) for _, what, _ in findings)
    for kind, what, text in findings:
        click.echo(f"{paint(kind.ljust(5), _PAINTS[kind], on=on)}  {what.ljust(width)}  {clean(text)}")


def _here() -> list[tuple[str, str, str]]:
    import platform
    import sys

    from ... import __version__

    python = f"Python {platform.python_version()} in {sys.prefix}"
    return [(_GOOD, "shorepower", f"{__version__}, {python}"), (_GOOD, "system", platform.platform())]


def _places(client: Client) -> list[tuple[str, str, str]]:
    from ..render.figures import format_bytes

    places = client.settings.places
    config = places.config_file
    found = [
        (
            _GOOD,
            "configuration",
            f"{config}" + ("" if config.exists() else " (none yet: nothing is needed)"),
        )
    ]
    folder = places.state_dir
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        return [*found, (_BAD, "state", f"{places.state_dir} cannot be written; set SHORE_STATE_DIR")]
    there = os.statvfs(folder)
    free = there.f_bavail * there.f_frsize
    kind = _GOOD if free > LOW_DISK_BYTES else _NOTE
    return [*found, (kind, "state", f"{places.state_dir}, {format_bytes(free)} free")]


def _server(client: Client) -> list[tuple[str, str, str]]:
    from ...model.errors import ShorepowerError
    from ...model.resources import counted, format_memory

    label = client.transport.address.label
    try:
        info, clusters = client.server(), client.clusters()
    except ShorepowerError as error:
        return [(_BAD, "server", str(error))]
    found = [(_GOOD, "server", f"{label}: shorepower {info.version}, process {info.pid} on {info.host}")]
    for one in clusters:
        size = counted(one.cpu_count, "cpu") if one.cpu_count is not None else ""
        size += f", {format_memory(one.memory_mib)} for jobs" if one.memory_mib else ""
        if one.stale_since is not None:
            found.append((_NOTE, f"cluster {one.name}", f"silent: {one.why_stale}"))
        else:
            found.append((_GOOD, f"cluster {one.name}", f"{one.type}, {size}".strip(" ,")))
    return found


def _programs(client: Client) -> list[tuple[str, str, str]]:
    from ...client.interpreters import choose, find_uv
    from ...model.errors import InvalidRequest
    from ...model.runtime import SUFFIXES, Script, Session

    venv = Path(".venv").absolute()
    session = Session(env=client.environ, project_venv=str(venv) if venv.is_dir() else None)
    found = []
    for suffix, runtime in SUFFIXES.items():
        if suffix == ".r":
            continue
        try:
            chosen = choose(Script(path=f"x{suffix}"), session, client.settings.places.cache_dir)
        except InvalidRequest:
            found.append((_NOTE, f"*{suffix}", f"{runtime}: not here"))
        else:
            found.append((_GOOD, f"*{suffix}", f"{chosen.label}: {chosen.program}"))
    uv = find_uv(client.environ)
    return [*found, (_GOOD, "uv", uv) if uv else (_NOTE, "uv", "not here (not needed)")]
