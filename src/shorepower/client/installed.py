"""Whether an interpreter has what is declared: it is asked once, and again when something was installed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from ..model.errors import Fault, InvalidRequest
from .declared import Needs
from .interpreters import python_version
from .names import quoted, shown
from .remembered import recall, remember

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Fit", "fit_of"]

PROBE_TIMEOUT_S = 20.0
REMEMBERED = 200

# Runs in the job's Python with nothing of ours. Of each package that is named: its version, and what its
# extras need, and the same of those. The current folder is no place to import from.
_PROBE = """
import sys
sys.path[:] = [place for place in sys.path if place]
import json, os, platform, re
try:
    from importlib import metadata
except ImportError:
    metadata = None
found, wanted = {}, sys.argv[1:]
while wanted and metadata:
    name = wanted.pop()
    if name in found:
        continue
    try:
        has = metadata.distribution(name)
    except Exception:
        found[name] = None
        continue
    extras = [need for need in has.requires or () if "extra" in need.partition(";")[2]]
    found[name] = [has.version or "", extras]
    wanted += [name[0] for need in extras for name in [re.match(r"[\\w.-]+", need)] if name]
version = platform.python_version()
impl = sys.implementation.version
folders = {}
for place in sys.path:
    try:
        folders[place] = os.stat(place).st_mtime_ns
    except OSError:
        pass
print(json.dumps({"executable": sys.executable, "folders": folders, "found": found, "marks": {
    "implementation_name": sys.implementation.name,
    "implementation_version": "%d.%d.%d" % impl[:3],
    "os_name": os.name,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_release": platform.release(),
    "platform_system": platform.system(),
    "platform_version": platform.version(),
    "python_full_version": version,
    "python_version": ".".join(version.split(".")[:2]),
    "sys_platform": sys.platform,
}}))
"""


class Fit(Struct, frozen=True):
    """What is not as declared."""

    version: str = ""
    """Of the interpreter; empty when it does not start."""
    python_fits: bool = True
    missing: tuple[str, ...] = ()
    """Requirements that are not met."""
    wrong: tuple[str, ...] = ()
    """The same in words: ``rich is 12.0, not >=13``, ``no httpx``."""
    folders: dict[str, int] = {}
    """Where it imports from (or the file that says its version), with the time of the last change."""

    @property
    def is_right(self) -> bool:
        return bool(self.version) and self.python_fits and not self.missing


class _Answer(Struct):
    executable: str
    folders: dict[str, int]
    found: dict[str, tuple[str, list[str]] | None]
    marks: dict[str, str]


def fit_of(program: str, needs: Needs, *, env: Mapping[str, str], cwd: Path, cache_dir: Path | None) -> Fit:
    """Whether an interpreter, started with ``env`` in ``cwd``, meets the needs.

    Only a yes is remembered, for as long as no folder that it imports from has changed. Raises
    InvalidRequest for needs that cannot be understood.
    """
    file = cache_dir / "fits.json" if cache_dir else None
    known, key = recall(file, Fit), _key(program, needs, env)
    if (told := known.pop(key, None)) is not None and _unchanged(told.folders):
        return told
    parsed = _Parsed(needs)
    names = [one.name for one in parsed.packages]
    answer = (
        _asked(program, names, env, cwd) if names else _written(program) or _asked(program, (), env, cwd)
    )
    if answer is None:
        return Fit()
    fit = parsed.compare(answer)
    # A shim (pyenv, asdf) starts another program by rules of its own: its answer holds for once.
    if fit.is_right and os.path.realpath(answer.executable) == os.path.realpath(program):
        newest = list(known.items())[-REMEMBERED + 1 :]
        remember(file, {**dict(newest), key: fit})
    return fit


class _Parsed:
    """Needs as `packaging` understands them."""

    def __init__(self, needs: Needs) -> None:
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        self._understood, self.python = Requirement, SpecifierSet()
        self.packages: list[Requirement] = []
        faults = []
        try:
            self.python = SpecifierSet(needs.python)
        except InvalidSpecifier:
            told = f"requires-python {quoted(needs.python)} is no version specifier such as '>=3.11'"
            faults.append(Fault("SCRIPT", f"{needs.by}: {told}"))
        for text in needs.packages:
            try:
                self.packages.append(Requirement(text))
            except InvalidRequirement as error:
                why = shown(str(error).partition("\n")[0])
                faults.append(Fault("SCRIPT", f"{needs.by}: {quoted(text)} is no requirement: {why}"))
        if faults:
            raise InvalidRequest(faults)

    def compare(self, answer: _Answer) -> Fit:
        version = answer.marks["python_full_version"]
        missing, wrong = [], []
        for one in self.packages:
            if one.marker and not one.marker.evaluate({**answer.marks, "extra": ""}):
                continue
            if words := self._lack(one, answer, frozenset()):
                missing.append(str(one))
                wrong.append(words)
        return Fit(
            version=version,
            python_fits=self.python.contains(version.rstrip("+"), prereleases=True),
            missing=tuple(missing),
            wrong=tuple(wrong),
            folders=answer.folders,
        )

    def _lack(self, one: Requirement, answer: _Answer, above: frozenset[str]) -> str:
        """In words what is missing; empty when nothing is. An extra needs what it names, and so on."""
        name = shown(one.name)
        there = answer.found.get(one.name)
        if there is None:
            return f"no {name}"
        version, needs = there
        if not one.specifier.contains(version, prereleases=True):
            return f"{name} is {shown(version)}, not {one.specifier}"
        for extra in one.extras if one.name not in above else ():
            for text in needs:
                inner = self._understood(text)
                wanted = inner.marker and inner.marker.evaluate({**answer.marks, "extra": extra})
                if wanted and (words := self._lack(inner, answer, above | {one.name})):
                    return f"{words} (for {name}[{extra}])"
        return ""


def _written(program: str) -> _Answer | None:
    """What a virtual environment's own file says of its version: then its Python need not run."""
    config = Path(program).parent.parent / "pyvenv.cfg"
    version = python_version(program)
    if version.count(".") < 2:
        return None
    try:
        changed = config.stat().st_mtime_ns
    except OSError:
        return None
    return _Answer(
        executable=program, folders={str(config): changed}, found={}, marks={"python_full_version": version}
    )


def _asked(program: str, names: Sequence[str], env: Mapping[str, str], cwd: Path) -> _Answer | None:
    """What the interpreter says of itself; None when it does not start."""
    import subprocess

    try:
        done = subprocess.run(
            [program, "-c", _PROBE, *names],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
        # What a sitecustomize prints comes before.
        return msgspec.json.decode(done.stdout.strip().rpartition(b"\n")[2], type=_Answer)
    except (OSError, subprocess.TimeoutExpired, msgspec.DecodeError):
        return None


def _key(program: str, needs: Needs, env: Mapping[str, str]) -> str:
    """The same for the same question to the same file."""
    real = Path(os.path.realpath(program))
    try:
        changed = real.stat().st_mtime_ns
    except OSError:
        changed = 0
    surroundings = [env.get(name, "") for name in ("HOME", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE")]
    said = [program, str(real), changed, needs.python, needs.packages, surroundings]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def _unchanged(folders: Mapping[str, int]) -> bool:
    try:
        return all(Path(place).stat().st_mtime_ns == changed for place, changed in folders.items())
    except OSError:
        return False
