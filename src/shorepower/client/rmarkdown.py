"""Whether R has the package that renders a document: asked before the job queues, not found out by it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["lacks_rmarkdown"]

ASK_TIMEOUT_S = 5.0
_NO = 42
_QUESTION = f'if (!requireNamespace("rmarkdown", quietly = TRUE)) q(status = {_NO})'


def lacks_rmarkdown(rscript: str, env: Mapping[str, str], folder: Path) -> bool:
    """True for a definite no only. A profile of the user's may name other libraries, and is not run for a
    question: then nobody knows."""
    import subprocess

    profiles = [folder / ".Rprofile", Path(env.get("HOME", "/"), ".Rprofile")]
    if env.get("R_PROFILE_USER") or any(os.path.lexists(profile) for profile in profiles):
        return False
    try:
        asked = subprocess.run(
            [rscript, "--no-init-file", "-e", _QUESTION],
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == _NO
