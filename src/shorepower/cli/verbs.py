"""What verbs have in common: how their options look, and the client they speak through."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .voice import say

if TYPE_CHECKING:
    from ..client.client import Client

__all__ = ["client_of", "ids_option", "job_argument", "jobs_argument", "json_option", "server_option"]

F = TypeVar("F", bound=Callable[..., Any])


def server_option(function: F) -> F:
    """``--server NAME``: which server, for this command."""
    text = "The server to use: the name of a login, an address, or 'private'."
    return click.option("--server", metavar="NAME", help=text)(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--json``, also written ``-o json``; the parameter is called ``as_json``."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
    @click.option("-o", "output_format", metavar="json", help="-o json is the same as --json.")
    @wraps(function)
    def wrapped(*args: Any, as_json: bool, output_format: str | None, **given: Any) -> Any:
        if output_format not in (None, "json"):
            raise click.UsageError(
                f"-o {output_format}: here -o json prints JSON; sbatch's -o FILE is not needed, as output "
                f"is kept anyway: shore logs ID > {output_format}",
                click.get_current_context(),
            )
        return function(*args, as_json=as_json or output_format == "json", **given)

    return wrapped


def ids_option(function: F) -> F:
    """``--ids``: ids and nothing else."""
    return click.option("--ids", is_flag=True, help="Print ids and nothing else, one a line.")(function)


def job_argument(function: F) -> F:
    """One job."""
    return click.argument("job", metavar="JOB", shell_complete=complete_jobs)(function)


def jobs_argument(function: F) -> F:
    """One job or several."""
    return click.argument("jobs", metavar="JOB...", nargs=-1, required=True, shell_complete=complete_jobs)(
        function
    )


def client_of(server: str | None, *, start: bool = True) -> Client:
    """A client whose sentences are said on stderr; what is misspelt in its environment is said first."""
    from ..client.client import Client
    from ..client.settings import unknown_variables

    for sentence in unknown_variables(os.environ):
        say(sentence)
    return Client(server, say=say, start=start)


def complete_jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """Jobs seen last, without asking any server: completion must not wait."""
    from click.shell_completion import CompletionItem

    from ..client.seen import all_seen
    from ..client.settings import places_of

    known = all_seen(places_of(os.environ).client_dir)
    return [
        CompletionItem(job.id, help=f"{job.name} {job.state.value}")
        for job in known
        if job.id.startswith(incomplete)
    ]
