"""``shore resume``: let suspended jobs go on."""

from __future__ import annotations

from typing import Any

import click

from ..steer import steer
from ..verbs import jobs_argument, json_option, server_option

__all__ = ["command"]


@click.command("resume")
@json_option
@server_option
@jobs_argument
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Let suspended jobs go on."""
    ctx.exit(steer("resume", given))
