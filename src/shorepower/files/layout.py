"""How a working folder is laid out, and where links stand in it. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from ..model.errors import InvalidRequest
from ..model.job import Link
from ..model.names import quoted

__all__ = ["PYTHON_CACHE", "Links", "links_by_folder", "marker_of", "nothing", "parts_of"]

Links: TypeAlias = "dict[bytes, bytes | Links]"
"""By name: the target of a link, or what stands in a folder of that name."""


PYTHON_CACHE = b"__pycache__"
"""Where Python keeps compiled modules; no snapshot of a project holds one."""


def nothing() -> None:
    """The check that never objects."""


def marker_of(project: Path) -> Path:
    """The file whose change time is the moment when staging ended."""
    return project.with_name(project.name + ".staged")


def parts_of(path: bytes) -> list[bytes]:
    """The parts of a path inside an area. Raises InvalidRequest for one that could leave it."""
    parts = path.split(b"/")
    if path.startswith(b"/") or b"\0" in path or any(part in (b"", b".", b"..") for part in parts):
        raise InvalidRequest(f"{quoted(path)} is not a path inside the working folder")
    return parts


def links_by_folder(links: Sequence[Link]) -> Links:
    """Links as folders of names. Raises InvalidRequest when one is not inside the project, lies below
    another one, or leads nowhere absolute."""
    root: Links = {}
    for link in links:
        *folders, name = parts_of(os.fsencode(link.path))
        target = os.fsencode(link.target)
        if not target.startswith(b"/") or b"\0" in target:
            named = quoted(link.path)
            raise InvalidRequest(f"the link {named} needs an absolute target, not {quoted(link.target)}")
        place = root
        for folder in folders:
            below = place.setdefault(folder, {})
            if isinstance(below, bytes):
                raise InvalidRequest(f"the link {quoted(link.path)} lies below another link")
            place = below
        if name in place:
            raise InvalidRequest(f"the link {quoted(link.path)} stands where another one does")
        place[name] = target
    return root
