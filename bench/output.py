"""Output on its way: 1 GB followed by one reader, beside cat through a pipe."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from place import SHORE, Row, at_size, ms, place, seconds

SIZE_BYTES = at_size(1_000_000_000, 3_000_000)


def measure() -> Iterator[Row]:
    """A job that writes 1 GB, attached; and the same through ``cat``."""
    writer = f"head -c {SIZE_BYTES} /dev/zero | tr '\\0' 'x'"
    with place() as here:
        project = here.folder("project")
        with open(os.devnull, "wb") as nowhere:

            def attached() -> None:
                subprocess.run(
                    [*SHORE, "run", "--", "sh", "-c", writer],
                    env=here.env,
                    cwd=project,
                    stdout=nowhere,
                    stderr=subprocess.DEVNULL,
                    check=True,
                )

            def piped() -> None:
                subprocess.run(["sh", "-c", f"{writer} | cat"], stdout=nowhere, check=True)

            ours, peer = seconds(attached), seconds(piped)
    yield Row(
        f"{SIZE_BYTES / 1e9:g} GB of output followed by one reader",
        f"{ms(ours)}, {SIZE_BYTES / ours / 1e6:.0f} MB/s",
        f"`cat` {ms(peer)}, {SIZE_BYTES / peer / 1e6:.0f} MB/s",
        f"{peer / ours:.2f} of its speed",
        "≥ 0.5",
    )
