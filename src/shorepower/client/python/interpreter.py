"""Which Python runs a call, and that it is the caller's own minor version."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache

from ...model.errors import Fault, InvalidRequest
from ..interpreters import find_program
from .errors import WrongPython
from .payload import VERSION

__all__ = ["choose_python"]

ASK_TIMEOUT_S = 10.0
_ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def choose_python(named: str | None, *, here: bool, env: Mapping[str, str]) -> str:
    """The program that the job runs: the caller's own where the cluster sees it, else the one of the same
    version in the job's PATH. Raises WrongPython, InvalidRequest."""
    if not here:
        return named or f"python{VERSION}"
    if named is None:
        return sys.executable or _found(f"python{VERSION}", env)
    program = _found(os.fspath(named), env)
    if program != sys.executable:
        _check(program, _version(program, os.stat(program).st_mtime_ns))  # noqa: PTH116 - one call
    return program


def _found(named: str, env: Mapping[str, str]) -> str:
    program = os.path.abspath(named) if "/" in named else named  # noqa: PTH100 - a link stays one
    found = find_program(program, env, any_environment=True)
    if found is None:
        raise InvalidRequest([Fault("python", f"python={named!r}: there is no such program here")])
    return found


def _check(program: str, version: str) -> None:
    if version != VERSION:
        raise WrongPython(
            f"the job would run Python {version} ({program}), and this is Python {VERSION} "
            f"({sys.executable}): what one pickles the other cannot read; choose a Python {VERSION}, or "
            f"start from {program}"
        )


@cache
def _version(program: str, mtime_ns: int) -> str:
    """What it says itself; it is asked again when it is another file."""
    try:
        done = subprocess.run(
            [program, "-I", "-S", "-c", _ASK],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidRequest([Fault("python", f"{program} cannot be run: {error}")]) from None
    version = done.stdout.decode(errors="replace").strip()
    if done.returncode or not version:
        raise InvalidRequest([Fault("python", f"{program} is no Python interpreter")])
    return version
