"""A job that was sent from a folder, ran, and comes home: everything real but the network."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from shorepower.client.home import PullReport, Target, choose_target, machine_id
from shorepower.client.ledger import Ledger
from shorepower.client.pull import pull
from shorepower.files.blobs import BlobLost
from shorepower.files.collect import list_changes, read
from shorepower.files.stage import stage
from shorepower.model.errors import NotFound
from shorepower.model.job import Job, Origin
from shorepower.model.results import FileEntry
from support.trees import Server, send_project, view_of

START = datetime(2030, 1, 1, tzinfo=UTC)


class World:
    """A user's folder, the server's, and the client's own."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.home = self.root / "analysis"
        self.home.mkdir()
        self.server = Server(self.root / "blobs")
        self.ledger = Ledger(self.root / "state" / "client")
        self.count = 0

    def write(self, **files: str) -> None:
        """Files in the user's folder."""
        write(self.home, files)

    def submit(self, *, name: str = "train.R") -> Ran:
        """Send the folder as it is and stage it; what runs is up to the test."""
        self.count += 1
        ran = Ran(self, self.count, name)
        ran.work.mkdir(parents=True)
        (ran.work / "results").mkdir()
        beside = self.ledger.beside(self.home)
        ran.tree = send_project(self.home, self.server, self.root / "cache", beside=beside).tree
        ran.links = view_of(self.home, beside=beside).links
        stage(self.server.blobs, ran.tree, ran.project, links=ran.links)
        return ran

    def blob(self, digest: str) -> bytes:
        try:
            return self.server.blobs.get(digest)
        except BlobLost as lost:
            raise NotFound(str(lost)) from None


class Ran:
    """One job of a world."""

    def __init__(self, world: World, number: int, name: str) -> None:
        self.world = world
        self.work = world.root / "work" / str(number)
        self.project, self.results = self.work / "project", self.work / "results"
        self.tree: str | None = None
        self.links: tuple[Any, ...] = ()
        self.job = Job(
            id="jobabcdefgh" + "abcdefghij"[number],
            name=name,
            owner="u",
            cluster="local",
            created_at=START + timedelta(minutes=number),
            origin=Origin(host=machine_id(), directory=str(world.home)),
        )
        self.fetched: list[tuple[str, int]] = []

    def write(self, **files: str) -> None:
        """Files that the job writes into its project."""
        write(self.project, files)

    def listing(self, *, running: bool = False) -> tuple[FileEntry, ...]:
        blobs = self.world.server.blobs
        return list_changes(blobs, self.tree, self.work, links=self.links, digests=not running).entries

    def fetch(self, entries: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], bytes]]:
        """What ``files:read`` answers."""
        assert entries
        pieces = random.Random(len(self.fetched))
        for wanted in entries:
            path, area, offset = _raw(wanted), wanted["area"], int(wanted["offset"])
            self.fetched.append((path.decode(errors="replace"), offset))
            name = {key: wanted[key] for key in ("path", "path_b64") if key in wanted}
            while True:
                try:
                    data = read(self.work, path, area, offset=offset, length=pieces.randint(1, 1 << 20))
                except NotFound as error:
                    yield {**name, "area": area, "offset": offset, "error": str(error)}, b""
                    break
                more = read(self.work, path, area, offset=offset + len(data), length=1)
                yield {**name, "area": area, "offset": offset, "eof": not more}, data
                offset += len(data)
                if not more:
                    break

    def pull(
        self,
        *,
        to: Path | None = None,
        cwd: Path | None = None,
        target: Target | None = None,
        entries: Sequence[FileEntry] | None = None,
        fetch: Callable[..., Any] | None = None,
        **more: Any,
    ) -> PullReport:
        """Bring it home."""
        where = target or choose_target(self.job, cwd=cwd or self.world.home, to=to)
        return pull(
            self.job,
            self.listing() if entries is None else entries,
            where,
            fetch=fetch or self.fetch,
            blob=self.world.blob,
            tree=self.tree,
            ledger=self.world.ledger,
            **more,
        )


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write files; ``__`` in a name is a slash, ``_dot_`` a dot."""
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _raw(wanted: Mapping[str, Any]) -> bytes:
    if wanted.get("path_b64"):
        return base64.b64decode(wanted["path_b64"])
    return str(wanted["path"]).encode()
