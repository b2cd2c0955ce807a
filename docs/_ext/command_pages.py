"""The command reference, from the click commands. Pure."""

from collections.abc import Iterator
from inspect import cleandoc

import click

PRE = "\b"  # click's mark for a paragraph that keeps its lines


def command_page(root: click.Command, name: str) -> str:
    """One Markdown page: the root, then each command that is not hidden, sub-commands after their group."""
    parts = ["# Commands", ""]
    for path, command in walk(root, (name,)):
        parts += section(path, command)
    return "\n".join(parts).rstrip() + "\n"


def walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it that are shown, in the order in which they are listed."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from walk(below, (*path, name))


def section(path: tuple[str, ...], command: click.Command) -> list[str]:
    """Heading, usage, help, arguments and options of one command."""
    context = click.Context(command, info_name=" ".join(path))
    usage = " ".join([*path, *command.collect_usage_pieces(context)])
    lines = [f"## {' '.join(path)}", "", "```text", usage, "```", "", *prose(command.help or "")]
    rows = [record for given in command.get_params(context) if (record := option_record(given, context))]
    for left, right in rows:
        lines += [f"{literal(left)}", f": {cell(right) or 'No description.'}", ""]
    if isinstance(command, click.Group):
        lines += ["Commands:", ""]
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                anchor = "-".join((*path, name))
                lines.append(f"- [`{name}`](#{anchor}): {cell(below.get_short_help_str(200))}")
        lines.append("")
    return lines


def option_record(given: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    """How an option is written and what it does; None for a hidden one, ``--help`` and an argument."""
    if isinstance(given, click.Option) and not given.hidden and "--help" not in given.opts:
        return given.get_help_record(context)
    return None


def prose(text: str) -> list[str]:
    """A help text as Markdown; paragraphs that keep their lines become blocks."""
    lines: list[str] = []
    for paragraph in cleandoc(text).partition("\f")[0].split("\n\n"):
        if not paragraph.strip():
            continue
        if paragraph.lstrip(" \n").startswith(PRE):
            block = paragraph.lstrip(" \n").removeprefix(PRE).strip("\n")
            lines += ["```text", block, "```", ""]
        else:
            lines += [cell(paragraph), ""]
    return lines


def literal(text: str) -> str:
    """As code, whatever it holds."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def cell(text: str) -> str:
    """One line of prose in which nothing is taken for markup."""
    flat = " ".join(text.split())
    for mark in ("\\", "*", "_", "<", ">", "[", "]", "{", "}", "|", "$"):
        flat = flat.replace(mark, f"\\{mark}")
    return flat
