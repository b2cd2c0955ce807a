"""What of a project is sent: one walk, folders before what is in them, stopped at the limits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..model.errors import Fault, InvalidRequest
from ..model.job import Link
from .environments import editable_installs
from .find import FoundProject, find_project
from .ignore import Ignoring, Verdict, hold_back_lines
from .names import listed, shown
from .tally import Full, Met, Node, Room, largest_folders
from .view import Data, Folder, Item, Limits, NotSent, ProjectTooLarge, ProjectView
from .walk import Candidate, Policy, Walk

__all__ = [
    "Data",
    "Folder",
    "FoundProject",
    "Item",
    "Limits",
    "NotSent",
    "ProjectTooLarge",
    "ProjectView",
    "find_project",
    "look_over",
]


def look_over(
    found: FoundProject,
    *,
    here: bool,
    includes: Sequence[str] = (),
    data: Sequence[Data] = (),
    send_ignored: bool = False,
    beside: frozenset[str] = frozenset(),
    environment: Path | None = None,
    limits: Limits | None = None,
) -> ProjectView:
    """Walk the project and say what is sent, linked and left.

    ``here``: the cluster sees this file system, so ignored files are copied while small; large ignored
    folders, environments and secret-like files are linked. ``send_ignored``: elsewhere, ignored files
    go along. ``beside``: paths that pulls of ours put beside a user's file (`Ledger.beside`).
    ``environment``: the Python environment whose editable installs matter (default: the project's
    ``.venv``). Raises ProjectTooLarge at a limit, InvalidRequest for ``data`` that cannot be linked.
    """
    limits = limits or Limits()
    policy = Policy(
        here=here,
        data=_data_by_path(found, data, here),
        beside=frozenset(map(os.fsencode, beside)),
        measure_files=limits.measure_files,
    )
    ignoring = Ignoring(found.root, includes)
    walk, met, room = Walk(found.root, ignoring, policy), Met(), Room(limits.max_bytes, limits.max_files)
    top = Node(b"", 0o755, 0)
    try:
        if found.only is not None:
            for name in found.only:
                walk.file(os.fsencode(name), top, met, room)
        else:
            walk.folder(b"", top, None, Verdict.SEND, met, room)
            _settle_ignored(walk, met, room, limits, here=here, send=send_ignored)
    except Full:
        met_so_far = largest_folders(top.folders.get(b"", top))
        raise ProjectTooLarge(room.size_bytes, room.file_count, met_so_far) from None
    finally:
        ignoring.close()
    walk.name_pointers(met)
    root = top.folders.get(b"", top)
    if found.git_only:
        root.add(Item(b".here", "file", 0o644, root.mtime_ns))
    return _view(found, root, met, room, environment)


def _settle_ignored(walk: Walk, met: Met, room: Room, limits: Limits, *, here: bool, send: bool) -> None:
    """Copy, link or leave what git ignores."""
    if not here:
        for one in walk.candidates:
            if send:
                _take(one, walk.build(one, met, room))
            else:
                walk.leave_measured(one.path, one.is_dir, ".gitignore", met)
        return
    built: list[tuple[int, int, Candidate, Node, Met]] = []
    large: list[Candidate] = []
    for one in walk.candidates:
        inner, small = Met(), Room(limits.copy_ignored_bytes, limits.copy_ignored_files)
        try:
            node = walk.build(one, inner, small)
        except Full:
            large.append(one)
        else:
            built.append((small.size_bytes, small.file_count, one, node, inner))
    built.sort(key=lambda entry: (entry[0], entry[1]))
    while sum(entry[0] for entry in built) > limits.copy_ignored_bytes:
        large.append(built.pop()[2])
    built.sort(key=lambda entry: entry[1])
    while sum(entry[1] for entry in built) > limits.copy_ignored_files:
        large.append(built.pop()[2])
    for size, count, one, node, inner in built:
        _take(one, node)
        met.add(inner)
        room.take(size, count)
    for one in large:
        walk.link(one.path, ".gitignore", met)


def _take(one: Candidate, aside: Node) -> None:
    for item in aside.items:
        one.parent.add(item)
    one.parent.folders.update(aside.folders)


def _data_by_path(found: FoundProject, data: Sequence[Data], here: bool) -> dict[bytes, Data]:
    """Where each ``--data`` stands in the project. Raises InvalidRequest with every fault."""
    by_path: dict[bytes, Data] = {}
    faults: list[Fault] = []
    for one in data:
        place = Path(os.path.normpath(found.cwd / one.path))
        exists = place.exists()
        if not place.is_relative_to(found.root) or place == found.root:
            faults.append(Fault("--data", f"--data {shown(one.path)}: name a path inside {found.root}"))
        elif here and not exists and one.target is None:
            faults.append(Fault("--data", f"--data {shown(one.path)}: there is no such file or folder"))
        elif not here and one.target is None:
            told = f"say where it lies on the cluster: --data {shown(one.path)}=/absolute/path"
            faults.append(Fault("--data", f"--data {shown(one.path)}: {told}"))
        elif one.target is not None and not one.target.startswith("/"):
            faults.append(Fault("--data", f"--data {shown(one.path)}: the target is an absolute path"))
        else:
            by_path[os.fsencode(place.relative_to(found.root).as_posix())] = one
    if faults:
        raise InvalidRequest(faults)
    return by_path


def _view(found: FoundProject, root: Node, met: Met, room: Room, environment: Path | None) -> ProjectView:
    installs = editable_installs(environment or found.root / ".venv", found.root)
    notes = [sentence.format(listed(paths)) for sentence, paths in met.named.items()]
    if installs.outside:
        outside = listed(installs.outside)
        notes.append(f"editable installs from outside the project are used where they are: {outside}")
    return ProjectView(
        root=found.root,
        workdir=found.workdir,
        why=found.why,
        tree=root.freeze(),
        links=_outermost(met.links),
        hold_back=hold_back_lines(found.root) if found.only is None else (),
        source_roots=installs.inside if found.only is None else (),
        not_sent=tuple(sorted(met.left, key=lambda one: one.path)),
        notes=tuple(notes),
        size_bytes=room.size_bytes,
        file_count=room.file_count,
    )


def _outermost(links: Sequence[Link]) -> tuple[Link, ...]:
    """By path, without those that lie below another one."""
    kept: list[Link] = []
    for link in sorted(links, key=lambda one: one.path.split("/")):
        if not kept or not link.path.startswith(kept[-1].path + "/"):
            kept.append(link)
    return tuple(kept)
