"""``shore suspend``: halt jobs."""

from __future__ import annotations

from typing import Any

import click

from ..steer import steer
from ..verbs import jobs_argument, json_option, server_option

__all__ = ["command"]


@click.command("suspend")
@json_option
@server_option
@jobs_argument
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Halt jobs where they are; their cpus and memory stay taken."""
    ctx.exit(steer("suspend", given))
