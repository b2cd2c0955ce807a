"""How long the command line takes to start, beside the bare interpreter."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from place import SHORE, Row, at_size, in_turns, ms, place

ROUNDS = at_size(15, 1)
_R = 'x <- mean(c(1, 2, 3))\ncat("mean", x, "\\n")\nwriteLines(format(x), "out.txt")\n'
_SH = "echo mean 2; echo 2 > out.txt\n"


def measure() -> Iterator[Row]:
    """``--version``, and ``ps`` against a warm server; a second ``run`` beside the program itself."""
    rscript = shutil.which("Rscript")
    with place() as here:
        project = here.folder("project")
        script = project / ("x.R" if rscript else "x.sh")
        script.write_text(_R if rscript else _SH)

        def command(*argv: str) -> None:
            subprocess.run(argv, env=here.env, cwd=project, check=True, capture_output=True)

        bare, version, ps = in_turns(
            ROUNDS,
            lambda: command(sys.executable, "-c", "pass"),
            lambda: command(*SHORE, "--version"),
            lambda: command(*SHORE, "ps"),
        )
        command(*SHORE, "run", script.name)
        program = rscript or "sh"
        alone, run = in_turns(
            ROUNDS,
            lambda: command(program, script.name),
            lambda: command(*SHORE, "run", script.name),
        )
    yield Row(
        "`shore --version`", ms(version), f"bare python {ms(bare)}", f"{version / bare:.1f}", "≤ 60 ms"
    )
    yield Row("`shore ps`, warm server", ms(ps), f"bare python {ms(bare)}", f"{ps / bare:.1f}", "≤ 150 ms")
    yield Row(
        f"`shore run {script.name}`, second time",
        ms(run),
        f"`{Path(program).name} {script.name}` {ms(alone)}",
        f"{run / alone:.1f}, {ms(run - alone)} more",
        "≤ 150 ms more",
    )
