"""How long the command line takes to start, beside the bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from place import SHORE, Row, in_turns, ms, place


def measure() -> Iterator[Row]:
    """``--version``, and ``ps`` against a warm server."""
    with place() as here:

        def command(*argv: str) -> None:
            subprocess.run(argv, env=here.env, check=True, capture_output=True)

        bare, version, ps = in_turns(
            15,
            lambda: command(sys.executable, "-c", "pass"),
            lambda: command(*SHORE, "--version"),
            lambda: command(*SHORE, "ps"),
        )
    yield Row(
        "`shore --version`", ms(version), f"bare python {ms(bare)}", f"{version / bare:.1f}", "≤ 60 ms"
    )
    yield Row("`shore ps`, warm server", ms(ps), f"bare python {ms(bare)}", f"{ps / bare:.1f}", "≤ 150 ms")
