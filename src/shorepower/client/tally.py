"""What a walk gathers: folders being built, what was met on the way, how much room is left."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..model.job import Link
from .names import shown
from .view import Folder, Item, NotSent

__all__ = ["Full", "Met", "Node", "Room", "largest_folders", "measure"]

_MUCH = 0.1
"""Of all that was met: a file as large as this is told by its name."""


class Full(Exception):
    """A walk met more than its room holds."""


class Room:
    """How much may still be taken."""

    def __init__(self, max_bytes: int, max_files: int) -> None:
        self.size_bytes = self.file_count = 0
        self._max_bytes, self._max_files = max_bytes, max_files

    def take(self, size_bytes: int, file_count: int = 1) -> None:
        """Raises Full."""
        self.size_bytes += size_bytes
        self.file_count += file_count
        if self.size_bytes > self._max_bytes or self.file_count > self._max_files:
            raise Full


class Node:
    """A folder while it is being built."""

    __slots__ = ("folders", "items", "mode", "mtime_ns", "name", "size_bytes")

    def __init__(self, name: bytes, mode: int, mtime_ns: int) -> None:
        self.name, self.mode, self.mtime_ns = name, mode, mtime_ns
        self.items: list[Item] = []
        self.folders: dict[bytes, Node] = {}
        self.size_bytes = 0
        """Of its own files."""

    def add(self, item: Item) -> None:
        """Keep a file or link."""
        self.items.append(item)
        self.size_bytes += item.size_bytes

    def freeze(self) -> Folder:
        """The finished folder, sorted by name."""
        return Folder(
            self.name,
            self.mode,
            self.mtime_ns,
            tuple(sorted(self.items, key=lambda item: item.name)),
            tuple(node.freeze() for _, node in sorted(self.folders.items())),
        )

    def total(self) -> tuple[int, int]:
        """(bytes, files) of everything below."""
        size, count = self.size_bytes, len(self.items)
        for node in self.folders.values():
            below = node.total()
            size, count = size + below[0], count + below[1]
        return size, count


class Met:
    """What is not simply sent."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.left: list[NotSent] = []
        self.named: dict[str, list[str]] = {}
        """By the sentence that names them: paths."""

    def name(self, sentence: str, path: str) -> None:
        """Remember a path for a sentence with ``{}`` where the paths go."""
        self.named.setdefault(sentence, []).append(path)

    def add(self, other: Met) -> None:
        """Take over what another walk met."""
        self.links += other.links
        self.left += other.left
        for sentence, paths in other.named.items():
            self.named.setdefault(sentence, []).extend(paths)


def largest_folders(root: Node, most: int = 5) -> list[tuple[str, int, int]]:
    """(folder, bytes, files), the largest first: where a folder is nearly all of the one above it, the
    deeper one is told. Files beside these folders are among them, large ones by name."""
    path, node = "", root
    while True:
        below = [(child, *child.total()) for child in node.folders.values()]
        below.sort(key=lambda one: (one[1], one[2]), reverse=True)
        size, count = node.total()
        if not below or below[0][1] < 0.8 * size or below[0][2] < 0.8 * count or not below[0][0].folders:
            break
        node = below[0][0]
        path += shown(node.name) + "/"
    told = [(f"{path}{shown(child.name)}/", size, count) for child, size, count in below]
    told += _beside(node, path, size)
    told.sort(key=lambda one: one[1:], reverse=True)
    return told[:most]


def _beside(node: Node, path: str, total_bytes: int) -> list[tuple[str, int, int]]:
    """A folder's own files: those that are much of it, and the rest together."""
    large = [item for item in node.items if item.size_bytes > _MUCH * total_bytes]
    told = [(f"{path}{shown(item.name)}", item.size_bytes, 1) for item in large]
    if rest := len(node.items) - len(large):
        told.append((path or "./", node.size_bytes - sum(item.size_bytes for item in large), rest))
    return told


def measure(folder: bytes, most_files: int) -> tuple[int, int, bool]:
    """(bytes, files looked at, whether that was all) of a folder that is not sent."""
    size = count = 0
    for entry in _files_below(folder):
        count += 1
        try:
            size += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
        if count >= most_files:
            return size, count, False
    return size, count, True


def _files_below(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry
        except OSError:
            continue
