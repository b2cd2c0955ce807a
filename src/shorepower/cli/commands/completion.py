"""``shore completion``: for bash, zsh and fish."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["command"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(**given: Any) -> None:
    """Print the completion of a shell.

    \b
    bash: shore completion bash > ~/.local/share/bash-completion/completions/shore
    zsh:  shore completion zsh > a folder of $fpath, as _shore
    fish: shore completion fish > ~/.config/fish/completions/shore.fish
    """
    from click.shell_completion import get_completion_class

    from ..main import shore

    kind = get_completion_class(given["shell"])
    assert kind is not None
    click.echo(kind(shore, {}, "shore", "_SHORE_COMPLETE").source())
