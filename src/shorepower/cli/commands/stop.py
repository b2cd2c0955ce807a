"""``shore stop``, also ``cancel``: end jobs in any state."""

from __future__ import annotations

from typing import Any

import click

from ..steer import steer
from ..verbs import jobs_argument, json_option, server_option

__all__ = ["command"]


@click.command("stop")
@click.option("--now", is_flag=True, help="SIGKILL at once, as shore kill.")
@json_option
@server_option
@jobs_argument
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """End jobs, whatever their state: SIGTERM to all their processes, SIGKILL after 30 s of grace.

    A job that still waits never starts. What came out of it so far is kept. ID_7 is one task of an array,
    ID_3-5,9 are several. Also called cancel.
    """
    ctx.exit(steer("kill" if given["now"] else "stop", given))
