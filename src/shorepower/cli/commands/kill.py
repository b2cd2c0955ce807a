"""``shore kill``: end jobs at once."""

from __future__ import annotations

from typing import Any

import click

from ..steer import steer
from ..verbs import jobs_argument, json_option, server_option

__all__ = ["command"]


@click.command("kill")
@json_option
@server_option
@jobs_argument
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """End jobs at once: SIGKILL to all their processes."""
    ctx.exit(steer("kill", given))
