"""Real trees on disk: random ones with odd names, and what is in one, for comparing."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path
from typing import NamedTuple

from shorepower.client.find import FoundProject
from shorepower.client.project import look_over
from shorepower.client.statcache import StatCache
from shorepower.client.upload import Pack, Sent, upload
from shorepower.client.view import ProjectView
from shorepower.files.blobs import BlobStore
from shorepower.wire.http.compression import decompressed
from shorepower.wire.http.frames import FrameReader

ODD_NAMES = [
    b"plain.txt",
    b"with space",
    b" lead",
    b"trail ",
    b"quote'\"`",
    b"new\nline",
    b"tab\tand\rreturn",
    b"\xff\xfe not utf8",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",
    b"Case",
    b"case",
    b"-rf",
    b"*",
    b"$(x);&|",
    b"back\\slash",
    b"\x1b[31mred",
    b"%41%00",
    "日本語.R".encode(),
    b"a" * 255,
    b"...",
    b".hidden",
    b"~",
    b"#!",
]


class Seen(NamedTuple):
    """One path as it lies on disk."""

    kind: str
    mode: int
    mtime_ns: int
    content: bytes


def seen(root: Path | bytes, *, folders_too: bool = True) -> dict[bytes, Seen]:
    """Everything below a folder, by path."""
    top = os.fsencode(root)
    found: dict[bytes, Seen] = {}
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                entry = Seen("link", 0, 0, os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                entry = Seen("dir", mode, status.st_mtime_ns, b"")
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    entry = Seen("file", mode, status.st_mtime_ns, file.read())
            else:
                entry = Seen("other", mode, 0, b"")
            if folders_too or entry.kind != "dir":
                found[os.path.relpath(path, top)] = entry
    return found


def grow(root: Path, seed: int, *, depth: int = 3, big: bool = False) -> None:
    """A random tree with odd names, modes, times, links and empty folders."""
    rng = random.Random(seed)
    _grow(rng, os.fsencode(root), depth, big)


def _grow(rng: random.Random, folder: bytes, depth: int, big: bool) -> None:
    os.makedirs(folder, exist_ok=True)
    for name in rng.sample(ODD_NAMES, rng.randint(1, 7)):
        path = folder + b"/" + name
        what = rng.random()
        if what < 0.25 and depth:
            _grow(rng, path, depth - 1, big)
        elif what < 0.32:
            os.mkdir(path)
        elif what < 0.42:
            os.symlink(rng.choice([b"plain.txt", b"nowhere", b"../../..", b"/etc/hostname", b"\xff"]), path)
        else:
            sizes = [0, 1, 100, 5000, 300_000] + ([16 << 20, (16 << 20) + 1, 33 << 20] if big else [])
            with open(path, "wb") as file:
                file.write(rng.randbytes(rng.choice(sizes)))
            os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o444, 0o640, 0o700]))
            when = rng.choice([0, 1, 10**18 + 123456789, 1_700_000_000_123_456_789])
            os.utime(path, ns=(when, when))
    os.utime(folder, ns=(10**18 + 7, 10**18 + 7))


class Server:
    """The blob part of a server, on a real store."""

    def __init__(self, root: Path) -> None:
        self.blobs = BlobStore(root)
        self.blobs.prepare()
        self.asked = 0
        self.packs: list[Pack] = []

    def missing(self, digests: list[str]) -> list[str]:
        assert 0 < len(digests) <= 10_000
        self.asked += len(digests)
        return self.blobs.missing(digests)

    def send(self, pack: Pack) -> None:
        self.packs.append(pack)
        data = pack.body
        if pack.encoding == "zstd":
            data = b"".join(decompressed(data, 64 << 20))
        reader = FrameReader()
        got = [(header["digest"], body) for header, body in reader.feed(data)]
        reader.finish()
        assert len(got) == pack.blob_count
        self.blobs.put(got)


def view_of(root: Path, **more: object) -> ProjectView:
    """The project in a folder as this machine would send it."""
    root = root.resolve()
    return look_over(FoundProject(root=root, cwd=root, why=""), here=True, **more)  # type: ignore[arg-type]


def send_project(root: Path, server: Server, cache_dir: Path, **more: object) -> Sent:
    """Look a project over and upload it."""
    cache = StatCache.of(root, cache_dir)
    sent = upload(view_of(root, **more), missing=server.missing, send=server.send, cache=cache)
    cache.save()
    return sent
