"""Writes the reference pages from the program itself before Sphinx reads its sources."""

import json
from pathlib import Path

from command_pages import command_page
from config_pages import config_page
from http_pages import http_page
from sphinx.application import Sphinx

from shorepower.cli.main import shore
from shorepower.config.schema import ENVIRONMENT, PROJECT_KEYS, Document
from shorepower.server.openapi import document


def write(app: Sphinx) -> None:
    """Write each page; one that has not changed keeps its time, so that Sphinx does not read it again."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "commands.md": command_page(shore, "shore"),
        "configuration.md": config_page(Document, ENVIRONMENT, PROJECT_KEYS),
        "http.md": http_page(document()),
        "openapi.json": json.dumps(document(), indent=1) + "\n",
    }
    for name, text in pages.items():
        page = folder / name
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
