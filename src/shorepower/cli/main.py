"""The command ``shore``: a group whose verbs are loaded when they are used.

Nothing but click is imported here, so that ``shore --version`` and completion are quick.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from .. import __version__

__all__ = ["main", "shore"]

# Verb → (module in `commands`, what it is in one line); in the order and sections of the help.
_SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("run", "Run a script or command, show its output, bring its results home."),
        "submit": ("submit", "Send a script or command and return; prints the job's id."),
        "rerun": ("rerun", "Run a job's snapshot again, with other resources if need be."),
    },
    "See": {
        "ps": ("ps", "List jobs."),
        "top": ("top", "What running jobs take: cpus, memory, time."),
        "show": ("show", "Everything about a job."),
        "logs": ("logs", "What a job wrote; -f follows."),
        "wait": ("wait", "Wait for jobs to end."),
        "events": ("events", "News of jobs as they come."),
    },
    "Steer": {
        "stop": ("stop", "End jobs: SIGTERM, then SIGKILL after a grace."),
        "kill": ("kill", "End jobs at once."),
        "suspend": ("suspend", "Halt jobs where they are."),
        "resume": ("resume", "Let suspended jobs go on."),
    },
    "Results": {
        "ls": ("ls", "What came out of a job."),
        "pull": ("pull", "Bring a job's results home."),
        "keep": ("keep", "Keep a job's results for longer."),
        "prune": ("prune", "Remove what is expired or not needed, and results that you name."),
        "du": ("du", "What the server keeps on disk."),
    },
    "Places": {
        "clusters": ("clusters", "Where jobs can run."),
        "login": ("login", "Use a server elsewhere."),
        "logout": ("logout", "Forget a server."),
        "whoami": ("whoami", "Which server, and who you are there."),
        "token": ("token", "Tokens for programs: create, list, revoke."),
        "server": ("server", "Your own server: start, stop, status."),
        "doctor": ("doctor", "What shorepower finds on this machine."),
        "completion": ("completion", "Completion for your shell."),
    },
}
_ALIASES = {"cancel": "stop"}
_HIDDEN = {"serve": "serve", "connect": "connect"}
"""For servers and ssh, not for people."""

_MODULES = {
    verb: module for section in _SECTIONS.values() for verb, (module, _) in section.items()
} | _HIDDEN


_GARBAGE_AFTER = 20_000
"""Objects that a command may make before rubbish is looked for: most are over before."""


class _Verbs(click.Group):
    """Loads a verb's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for section in _SECTIONS.values() for verb in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = _ALIASES.get(cmd_name, cmd_name)
        module = _MODULES.get(verb)
        return import_module(f"{__package__}.commands.{module}").command if module else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from difflib import get_close_matches

            known = [*self.list_commands(ctx), *_ALIASES]
            near = get_close_matches(args[0], known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"verbs are {', '.join(known)}"
            raise click.UsageError(f"no verb {args[0]!r}; {hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table: the help of all verbs loads none of them."""
        for title, verbs in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(verb, line) for verb, (_, line) in verbs.items()])


@click.command(
    cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, message="shorepower %(version)s")
def shore() -> None:
    """Run analyses on this machine or elsewhere and bring their results home.

    \b
    shore run train.R             run a script, see its output, get its files
    shore run -c 4 -m 8G fit.py   with four cpus and 8 GiB of memory
    shore run -- make all         run a command
    """


def _three_streams() -> None:
    """Open what was closed before we began: the next file or socket would get its number, and be taken
    for the standard stream that is missing."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command line and exit with its code."""
    _three_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    if not _HIDDEN.keys() & words[:1]:
        gc.set_threshold(_GARBAGE_AFTER)
    try:
        code = shore.main(words, prog_name="shore", standalone_mode=False)
    except BaseException as error:
        from .failing import exit_code

        code = exit_code(error, words)
    gc.freeze()  # the interpreter would walk through all of it twice more before it ends
    sys.exit(code if isinstance(code, int) else 0)
