"""The pages that are written by the program, from commands and routes small enough to read."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import click
import msgspec
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def load(name: str) -> ModuleType:
    """A module of the documentation's own extension, which is no package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


commands = load("command_pages")
config = load("config_pages")
http = load("http_pages")


@click.group()
def root() -> None:
    """Runs things.

    \b
    $ shore run x.R
    x
    """


@root.command()
@click.argument("script")
@click.option("-t", "--time", metavar="TIME", help="Time limit, as in [30] or <2h>.")
@click.option("--inner", hidden=True)
def run(script: str, time: str, inner: str) -> None:
    """Run SCRIPT, wait for it."""


@root.command(hidden=True)
def secret() -> None:
    """Not shown."""


@root.group()
def server() -> None:
    """The server."""


@server.command()
def stop() -> None:
    """Stop it; jobs live on."""


def test_each_shown_command_has_a_section_in_order() -> None:
    page = commands.command_page(root, "shore")

    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## shore", "## shore run", "## shore server", "## shore server stop"]


def test_a_command_shows_usage_help_and_options() -> None:
    page = commands.command_page(root, "shore")

    assert "shore run [OPTIONS] SCRIPT" in page
    assert "Run SCRIPT, wait for it." in page
    assert "`-t, --time TIME`\n: Time limit, as in \\[30\\] or \\<2h\\>." in page
    assert "--inner" not in page
    assert "--help" not in page
    assert "secret" not in page


def test_a_paragraph_that_keeps_its_lines_is_a_block() -> None:
    assert "```text\n$ shore run x.R\nx\n```" in commands.command_page(root, "shore")


def test_a_group_links_to_its_commands() -> None:
    assert "- [`stop`](#shore-server-stop): Stop it; jobs live on." in commands.command_page(root, "shore")


DOCUMENT = {
    "openapi": "3.1.0",
    "info": {"title": "x", "version": "1"},
    "paths": {
        "/v1/jobs/{job}": {
            "get": {
                "summary": "A job",
                "description": "Waits | up to ``wait`` seconds.",
                "parameters": [
                    {"name": "job", "in": "path", "required": True, "schema": {"type": "string"}},
                    {
                        "name": "wait",
                        "in": "query",
                        "schema": {"type": "number", "description": "Seconds."},
                    },
                ],
                "responses": {
                    "404": {"description": "Nobody knows it"},
                    "200": {
                        "description": "The job",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Job"}}},
                    },
                },
            }
        }
    },
    "components": {
        "schemas": {
            "State": {"enum": ["PENDING", "RUNNING"]},
            "Job": {
                "description": "How a job stands.",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "state": {"$ref": "#/components/schemas/State"},
                    "exit_code": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
                    "tags": {"type": "object", "additionalProperties": {"type": "string"}},
                    "span": {
                        "type": "array",
                        "prefixItems": [{"type": "integer"}, {"type": "string"}],
                        "items": False,
                    },
                    "links": {"type": "array", "items": {"type": "string", "format": "uri"}},
                },
            },
        }
    },
}


@pytest.mark.parametrize(
    "line",
    [
        "### GET /v1/jobs/{job}",
        "Waits \\| up to `wait` seconds.",
        "| `job` | path | string | required.  |",
        "| `wait` | query | number | Seconds. |",
        "| 200 | The job. `application/json` [Job](#job) |",
        "| 404 | Nobody knows it |",
        "One of: `PENDING`, `RUNNING`",
        "| `id` | string | required.  |",
        "| `exit_code` | integer or null |  |",
        "| `tags` | object of string |  |",
        "| `span` | list of (integer, string) |  |",
        "| `links` | list of string (uri) |  |",
    ],
)
def test_the_http_page_says(line: str) -> None:
    assert line in http.http_page(DOCUMENT).splitlines()


def test_statuses_are_in_order() -> None:
    page = http.http_page(DOCUMENT)

    assert page.index("| 200 |") < page.index("| 404 |")


class Table(msgspec.Struct):
    """``[run]``: what options default to."""

    cpus: float | None = None
    """At most so many."""
    wait: bool = True


class File(msgspec.Struct):
    """A whole file."""

    run: Table = msgspec.field(default_factory=Table)
    places: dict[str, Table] = {}
    include: tuple[str, ...] = ()
    """Globs of what is sent
    although git ignores it"""


@pytest.mark.parametrize(
    "line",
    [
        "## [run]",
        "What options default to.",
        "`cpus` (number)",
        ": At most so many. Environment: `SHORE_CPUS`.",
        "`wait` (true or false)",
        ": Default: `true`.",
        "## [places.NAME]",
        "`include` (list of text)",
        ": Globs of what is sent although git ignores it. Not in a project's `shore.toml`.",
    ],
)
def test_the_configuration_page_says(line: str) -> None:
    page = config.config_page(File, {"SHORE_CPUS": "run.cpus"}, ("run",))

    assert line in page.splitlines()
