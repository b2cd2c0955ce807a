"""The pages written by hand name commands, options and settings that exist."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from shorepower.cli.main import shore
from shorepower.config.find import load

TOP = Path(__file__).resolve().parents[2]
PAGES = [
    page
    for page in [*TOP.glob("*.md"), *TOP.glob("docs/**/*.md"), *TOP.glob("examples/*/README.md")]
    if "generated" not in page.parts and "_build" not in page.parts
]
# `shore verb`, at the beginning of a line of a block (after a prompt or not) or of a piece of code.
COMMAND = re.compile(r"(?:^(?:\$ )?|`)shore ((?:[a-z]+ )*[a-z]+)\b([^`\n]*)", re.MULTILINE)
OPTION = re.compile(r"(?<= )(--?[a-zA-Z][\w-]*)")
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def said(page: Path) -> Iterator[tuple[click.Command, str, str]]:
    """(command, what was written after `shore`, the options written with it)."""
    text = page.read_text()
    for found in COMMAND.finditer(text):
        words, rest = found.group(1).split(), found.group(2)
        command, context = shore, click.Context(shore, info_name="shore")
        while words and isinstance(command, click.Group):
            below = command.get_command(context, words[0])
            assert below is not None, f"{page.name} names shore {found.group(1)}"
            command, context = below, click.Context(below, context, words.pop(0))
        ours = re.split(r" -- |\.(?:py|R|sh)\b|  ", rest)[0]
        yield command, found.group(0), ours


GENERATOR = (TOP / "docs" / "_ext" / "generated.py").read_text()
"""Writes pages when the documentation is built; in a fresh clone they are not there yet."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_commands_and_options_exist(page: Path) -> None:
    for command, line, rest in said(page):
        known = {name for given in command.params for name in (*given.opts, *given.secondary_opts)}
        assert set(OPTION.findall(" " + rest)) <= known | {"--help", "--version"}, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        leads_to = (page.parent / target).resolve()
        if leads_to.parent == TOP / "docs" / "reference" / "generated":
            assert f'"{leads_to.name}"' in GENERATOR, f"{page.name} links to {target}, which nothing writes"
        else:
            assert leads_to.exists(), f"{page.name} links to {target}"


def test_the_configuration_that_is_shown_is_valid(tmp_path: Path) -> None:
    text = (TOP / "docs" / "reference" / "configuration.md").read_text()
    mine, project = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "shorepower").mkdir()
    (tmp_path / "shorepower" / "config.toml").write_text(mine)
    (tmp_path / "shore.toml").write_text(project)

    read = load({"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}, project=tmp_path)

    assert read.notes == ()
    assert {key.partition(".")[0] for key in read.origins} == {
        *tomllib.loads(mine),
        *tomllib.loads(project),
    }
