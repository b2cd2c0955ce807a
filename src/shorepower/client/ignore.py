"""What git ignores in a project, by git's own anchoring rules, and what ``.shoreignore`` changes.

Paths are bytes relative to the project, ``/`` between parts. A walk asks from the top down:
`Ignoring.enter` for each folder, beginning with the project's own, and `Ignoring.judge` for each name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Sequence
from enum import Enum
from pathlib import Path

from msgspec import Struct

from ..model.patterns import Rules
from .gitrepo import Repository, read_lines, repository_top

__all__ = ["Ignoring", "Level", "Verdict", "hold_back_lines"]

_GLOB = re.compile(rb"[*?\[\\]")


class Verdict(Enum):
    """What becomes of a name."""

    SEND = ""
    FREE = "given back"
    """Sent, and git's rules count no more below it: ``--include`` or a ``!`` line gave it back."""
    GIT = ".gitignore"
    SHORE = ".shoreignore"

    @property
    def sent(self) -> bool:
        """Whether it is part of the project."""
        return self in (Verdict.SEND, Verdict.FREE)


class Layer(Struct, frozen=True):
    """One ignore file; its lines speak of ``prefix + path[strip:]``."""

    rules: Rules
    strip: int = 0
    prefix: bytes = b""


class Level(Struct, frozen=True):
    """What is known inside one folder."""

    layers: tuple[Layer, ...] = ()
    """The stronger ones last."""
    repository: Repository | None = None
    state: Verdict = Verdict.SEND
    """What was judged of the folder itself."""


class Ignoring:
    """The rules of one project: nested ``.gitignore`` files, ``.git/info/exclude``,
    ``core.excludesFile``, what git tracks all the same, ``.shoreignore``, ``--include``."""

    def __init__(self, root: Path, includes: Sequence[str] = ()) -> None:
        self._root = root
        self._repositories: list[Repository] = []
        self._includes = Rules(includes)
        lines = read_lines(root / ".shoreignore")
        self._shore = Rules(lines)
        given_back = [os.fsencode(line) for line in includes if not line.startswith(("!", "#"))]
        given_back += [line[1:] for line in lines if line.startswith(b"!")]
        self._give_back_starts = [_literal_start(line) for line in given_back if line]

    def enter(
        self,
        path: bytes,
        names: Container[bytes],
        above: Level | None = None,
        state: Verdict = Verdict.SEND,
    ) -> Level:
        """The level inside a folder that holds these names (``above`` None: the project itself);
        ``state`` is what `judge` said of the folder."""
        if above is None:
            above = self._outside()
        layers, repository = above.layers, above.repository
        folder = self._root / os.fsdecode(path)
        strip = len(path) + 1 if path else 0
        if path and b".git" in names and repository_top(folder) == folder:
            repository = self._open(Repository(folder, folder, path + b"/"))
            layers = tuple(Layer(rules, strip) for rules in repository.excludes)
        if b".gitignore" in names and state is Verdict.SEND:
            rules = Rules(read_lines(folder / ".gitignore"))
            if rules:
                layers = (*layers, Layer(rules, strip))
        return Level(layers, repository, state)

    def judge(self, level: Level, path: bytes, is_dir: bool) -> Verdict:
        """What becomes of a name inside a level's folder."""
        if self._includes and self._includes.decide(path, is_dir):
            return Verdict.FREE
        if self._shore:
            said = self._shore.decide(path, is_dir)
            if said is not None:
                return Verdict.SHORE if said else Verdict.FREE
        if level.state is Verdict.FREE or level.state is Verdict.SHORE:
            return level.state
        if level.state is Verdict.GIT or _git_ignores(level.layers, path, is_dir):
            if not is_dir and level.repository is not None and path in level.repository.tracked:
                return Verdict.SEND
            return Verdict.GIT
        return Verdict.SEND

    def includes(self, path: bytes, is_dir: bool) -> bool:
        """Whether ``--include`` names exactly this path."""
        return bool(self._includes.decide(path, is_dir))

    def may_hold_sent(self, level: Level, path: bytes) -> bool:
        """Whether something below an ignored folder may be sent all the same."""
        if level.repository is not None and path in level.repository.tracked_folders:
            return True
        below = path + b"/"
        return any(
            start is None or start.startswith(below) or below.startswith(start)
            for start in self._give_back_starts
        )

    def close(self) -> None:
        """End what was asked of git and is not needed."""
        for repository in self._repositories:
            repository.close()

    def _open(self, repository: Repository) -> Repository:
        self._repositories.append(repository)
        return repository

    def _outside(self) -> Level:
        """What the repository around the project says, from its top down to the project."""
        top = repository_top(self._root)
        if top is None:
            return Level()
        repository = self._open(Repository(top, self._root))
        parts = [os.fsencode(part) for part in self._root.relative_to(top).parts]
        found = [(0, rules) for rules in repository.excludes]
        folder = top
        for depth, part in enumerate(parts):
            rules = Rules(read_lines(folder / ".gitignore"))
            if rules:
                found.append((depth, rules))
            folder = folder / os.fsdecode(part)
            above = tuple(Layer(rules, 0, b"/".join(parts[at : depth + 1])) for at, rules in found)
            if _git_ignores(above, b"", True):
                return (
                    Level()
                )  # the project lies in a folder that the repository ignores: none of its business
        layers = (Layer(rules, 0, b"".join(part + b"/" for part in parts[at:])) for at, rules in found)
        return Level(tuple(layers), repository)


def hold_back_lines(root: Path) -> tuple[str, ...]:
    """The lines of the project's ``.shoreignore`` that say something, for `JobSpec.hold_back`."""
    lines = (os.fsdecode(line) for line in read_lines(root / ".shoreignore"))
    return tuple(line for line in lines if line.strip() and not line.startswith("#"))


def _git_ignores(layers: tuple[Layer, ...], path: bytes, is_dir: bool) -> bool:
    for layer in reversed(layers):
        said = layer.rules.decide(layer.prefix + path[layer.strip :], is_dir)
        if said is not None:
            return said
    return False


def _literal_start(line: bytes) -> bytes | None:
    """The beginning that every path taken by a line has; None when it may be anywhere."""
    text = line.rstrip(b"/")
    if b"/" not in text:
        return None
    text = text.removeprefix(b"/")
    special = _GLOB.search(text)
    return text[: special.start()] if special else text + b"/"
