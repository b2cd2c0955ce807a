"""Sending a project of many files: first, and again with one changed file, beside rsync."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from place import Row, at_size, in_turns, ms, place, seconds

FILES, ROUNDS = at_size(20_000), at_size(5, 1)
SIZE_BYTES = 20_000


def measure() -> Iterator[Row]:
    """``shore submit`` until it returns; rsync -a of the same folder, first and again."""
    with place() as here:
        project = here.folder("project")
        paths = _fill(project)
        walk = seconds(lambda: sum(len(names) for _, _, names in os.walk(project)))
        first = seconds(lambda: here.shore("submit", "-c", "1", "--", "true", cwd=project))

        def again() -> None:
            random.choice(paths).write_bytes(random.randbytes(SIZE_BYTES))
            here.shore("submit", "-c", "1", "--", "true", cwd=project)

        copy = here.root / "copy"
        rsync = shutil.which("rsync")

        def peer() -> None:
            random.choice(paths).write_bytes(random.randbytes(SIZE_BYTES))
            if rsync:
                subprocess.run([rsync, "-a", f"{project}/", f"{copy}/"], check=True)

        peer_first = seconds(peer)
        second, peer_second = in_turns(ROUNDS, again, peer)
    size = f"{FILES:,} files, {FILES * SIZE_BYTES / 1e6:.0f} MB"
    if not rsync:
        yield Row(f"first submit of {size}", ms(first), f"rsync absent; walk alone {ms(walk)}", "", "")
        yield Row(f"second submit, one changed, {size}", ms(second), "rsync absent", "", "")
        return
    yield Row(
        f"first submit of {size}",
        ms(first),
        f"`rsync -a` {ms(peer_first)}",
        f"{first / peer_first:.2f}",
        "",
    )
    yield Row(
        f"second submit, one changed file, {size}",
        ms(second),
        f"`rsync -a` {ms(peer_second)}; walk alone {ms(walk)}",
        f"{second / peer_second:.2f}",
        "≤ 300 ms on top of the walk",
    )


def _fill(project: Path) -> list[Path]:
    paths = []
    for number in range(FILES):
        folder = project / f"d{number // 200}"
        if number % 200 == 0:
            folder.mkdir()
        path = folder / f"f{number}.txt"
        path.write_bytes(random.randbytes(SIZE_BYTES))
        paths.append(path)
    return paths
