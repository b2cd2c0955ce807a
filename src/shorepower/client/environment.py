"""What of the caller's environment a job gets. Pure, but for reading the files that are named."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ..model.errors import Fault, InvalidRequest

__all__ = ["Environment", "env_file_pairs", "gather", "passed_here"]

# Source: the contract, §3: what a job on this machine gets of the caller's environment.
_PASSED = re.compile(
    r"PATH|HOME|USER|SHELL|TERM|TMPDIR|LANG|LC_\w+|TZ|VIRTUAL_ENV|CONDA_\w+|PYTHONPATH|R_\w+|JULIA_\w+"
    r"|JAVA_HOME|LD_LIBRARY_PATH|MODULEPATH|LOADEDMODULES|CUDA_VISIBLE_DEVICES|\w+_(?:proxy|PROXY)"
    r"|SSL_CERT_\w+"
)
_PROXY = re.compile(r"\w+_proxy", re.IGNORECASE)
_WITH_PASSWORD = re.compile(r"[^/@]*:[^/@]+@")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FACTS = "SHOREPOWER_"


class Environment:
    """Variables and secrets of one job to be."""

    def __init__(self) -> None:
        self.env: dict[str, str] = {}
        self.secrets: dict[str, str] = {}


def gather(
    environ: Mapping[str, str],
    *,
    here: bool,
    pass_env: Sequence[str] = (),
    files: Sequence[Path] = (),
    given: Sequence[str] = (),
    secrets: Sequence[str] = (),
    ask: Callable[[str], str] | None = None,
) -> Environment:
    """Everything a job gets, later ones over earlier ones: the caller's own (only where the job runs on
    this machine), ``--env-file``, ``-e``, ``--secret``. Raises InvalidRequest with every fault."""
    made = Environment()
    faults: list[Fault] = []
    if here:
        made.env.update(passed_here(environ, pass_env))
    for file in files:
        made.env.update(_of_file(file, environ, faults))
    for text in given:
        _take(text, environ, made.env, faults)
    for text in secrets:
        _take_secret(text, environ, ask, made.secrets, faults)
    for name in made.secrets:
        made.env.pop(name, None)
    for name in [name for name, value in made.env.items() if _is_secret_proxy(name, value)]:
        made.secrets[name] = made.env.pop(name)
    if faults:
        raise InvalidRequest(faults)
    return made


def passed_here(environ: Mapping[str, str], pass_env: Sequence[str] = ()) -> dict[str, str]:
    """The variables that reach a job on this machine unasked."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith(_FACTS) and (_PASSED.fullmatch(name) or _fits(name, pass_env))
    }


def env_file_pairs(text: str) -> Iterable[tuple[int, str]]:
    """(line number, ``K=V`` or ``K``) of an environment file: blank lines and ``#`` comments are left out,
    ``export`` before a name and one pair of quotes round a value are taken off."""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").strip().partition("=")
        value = value.strip()
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield number, f"{name.strip()}{equals}{value}"


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns
    )


def _is_secret_proxy(name: str, value: str) -> bool:
    if not _PROXY.fullmatch(name):
        return False
    return bool(_WITH_PASSWORD.match(value.rpartition("://")[2]))


def _of_file(file: Path, environ: Mapping[str, str], faults: list[Fault]) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        faults.append(Fault("--env-file", f"{file} cannot be read: {reason}"))
        return found
    for number, pair in env_file_pairs(text):
        _take(pair, environ, found, faults, option=f"--env-file {file}:{number}")
    return found


def _take(
    text: str, environ: Mapping[str, str], into: dict[str, str], faults: list[Fault], option: str = "-e"
) -> None:
    name, equals, value = text.partition("=")
    if wrong := _wrong_name(name):
        faults.append(Fault(option, f"{option} {text.partition('=')[0]!r}: {wrong}"))
    elif equals:
        into[name] = value
    elif name in environ:
        into[name] = environ[name]
    else:
        faults.append(
            Fault(
                option, f"{option} {name}: there is no variable {name} here to pass on; write {name}=VALUE"
            )
        )


def _take_secret(
    text: str,
    environ: Mapping[str, str],
    ask: Callable[[str], str] | None,
    into: dict[str, str],
    faults: list[Fault],
) -> None:
    name, equals, value = text.partition("=")
    option = f"--secret {name}"
    if wrong := _wrong_name(name):
        faults.append(Fault("--secret", f"{option}: {wrong}"))
    elif equals and not value.startswith("@"):
        faults.append(
            Fault(
                "--secret",
                f"{option}: a value on the command line can be read by others; "
                f"set {name} in your environment and write --secret {name}, or --secret {name}=@FILE",
            )
        )
    elif equals:
        _secret_of_file(name, Path(value[1:]).expanduser(), into, faults)
    elif name in environ:
        into[name] = environ[name]
    elif ask is not None:
        into[name] = ask(name)
    else:
        faults.append(
            Fault("--secret", f"{option}: {name} is not set here, and there is no terminal to ask at")
        )


def _secret_of_file(name: str, file: Path, into: dict[str, str], faults: list[Fault]) -> None:
    try:
        into[name] = file.read_text().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        faults.append(Fault("--secret", f"--secret {name}: {file} cannot be read: {reason}"))


def _wrong_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        return "a variable's name has letters, digits and _ only, and no digit first"
    if name.startswith(_FACTS):
        return f"{_FACTS}* are facts that shorepower gives to a job"
    return ""
