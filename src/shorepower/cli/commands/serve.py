"""``shore serve``: be a server. Started by ``shore`` itself, or by a service manager."""

from __future__ import annotations

import sys

import click

__all__ = ["command"]


@click.command("serve", hidden=True)
@click.option("--private", is_flag=True, help="Your own server, for you alone.")
@click.option(
    "--take-over",
    is_flag=True,
    help="Without file locks: serve although another host may, which is surely dead.",
)
@click.pass_context
def command(ctx: click.Context, /, *, private: bool, take_over: bool) -> None:
    """Be your own server in the foreground, until stopped or idle. Commands start it by themselves."""
    if sys.platform == "win32":
        raise click.UsageError("servers run on Linux; from Windows use shore login ssh://host")
    if not private:
        raise click.UsageError("write shore serve --private: shared servers are not in this version")
    from ...compose import run_private

    ctx.exit(run_private(take_over=take_over))
