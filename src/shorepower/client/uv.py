"""uv, where it is: which environment it has built for a script. It is asked, and told to build nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["script_python"]

UV_TIMEOUT_S = 10.0

# Source: uv's reference of settings: no network, no download of a Python.
_STILL = {"UV_OFFLINE": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
_ACTIVE = ("VIRTUAL_ENV", "CONDA_PREFIX")
_BUCKET = "environments-v"
"""Of uv's cache, where the environments of scripts are (uv's documentation, "Caching")."""


def script_python(uv: str, script: Path, env: Mapping[str, str]) -> str | None:
    """The Python of the environment that ``uv sync --script`` or ``uv run`` made for a script.

    None where there is none: uv then names some other Python that would do as a base.
    """
    import subprocess

    quiet = {name: value for name, value in env.items() if name not in _ACTIVE} | _STILL
    try:
        done = subprocess.run(
            [uv, "python", "find", "--script", str(script)],
            env=quiet,
            cwd=script.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=UV_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout.decode(errors="surrogateescape").strip()
    python = Path(said)
    if done.returncode or not said.startswith("/") or not python.is_file():
        return None
    return said if python.parent.parent.parent.name.startswith(_BUCKET) else None
