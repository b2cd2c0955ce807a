"""What the user's surroundings say: places, defaults, logins. Flags come on top of all this.

Order: environment ``SHORE_*`` > the project's ``shore.toml`` > the user's file > ``/etc``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..model.errors import Fault, InvalidRequest

__all__ = [
    "Login",
    "Places",
    "RunDefaults",
    "Settings",
    "load_settings",
    "places_of",
    "unknown_variables",
]

PROJECT_FILE = "shore.toml"
_ETC = Path("/etc/shorepower/config.toml")
_SYSTEM_FILE = str(_ETC)
_SSH_DIR_BYTES = 107 - 9 - 17
"""Less our name of 8 letters and what ssh adds while it makes the socket. Source: ssh, mux.c."""
_PROJECT_KEYS = ("run", "data", "scripts", "include", "allowed_clusters")


class Places(Struct, frozen=True, kw_only=True):
    """Where things of this user lie on this machine."""

    state_dir: Path
    config_file: Path
    cache_dir: Path
    runtime_dir: str = ""

    @property
    def client_dir(self) -> Path:
        """What the client itself remembers."""
        return self.state_dir / "client"

    @property
    def socket(self) -> str:
        """Where the private server of this state directory listens."""
        from ..wire.places import socket_path

        real = os.path.realpath(self.state_dir)
        return str(socket_path(real, self.runtime_dir or None, os.getuid()))

    @property
    def tokens_dir(self) -> Path:
        """One 0600 file for each login that needs a token."""
        return self.config_file.parent / "tokens"

    @property
    def ssh_dir(self) -> Path:
        """Sockets of kept ssh connections; a short path, as a socket's has 107 bytes at most."""
        folder = Path(self.runtime_dir or "/", "shorepower-ssh")
        if self.runtime_dir and len(os.fsencode(folder)) <= _SSH_DIR_BYTES:
            return folder
        return Path(f"/tmp/shorepower-{os.getuid()}/ssh")  # noqa: S108 - made 0700, its owner is checked


class RunDefaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[run]``: what options default to."""

    on: str | None = None
    queue: str | None = None
    cpus: float | None = None
    mem: str | int | None = None
    time: str | int | None = None
    gpus: str | int | None = None
    pass_env: tuple[str, ...] = ()
    """More variables of the caller that a job on this machine gets; ``*`` at the end is allowed."""
    on_interrupt: str = "ask"
    """``ask``, ``leave`` or ``stop``: what Ctrl-C does to a job that was submitted."""
    max_send: str | int | None = None
    send_ignored: bool | None = None
    """Whether what git ignores goes along elsewhere; None asks once at a terminal."""


class Login(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[servers.NAME]``: a server that was logged in to."""

    url: str
    default: bool = False
    token_file: str = ""
    remote_command: str = ""
    """What runs ``connect`` over there; empty: ``shore``, else ``~/.local/bin/shore``."""
    keep_connection: bool = True
    """Keep an ssh connection of ours; False where the user's ssh configuration does it."""


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file, as far as a client cares: what is for the server alone is the server's to judge."""

    run: RunDefaults = RunDefaults()
    servers: dict[str, Login] = {}
    scripts: dict[str, str | tuple[str, ...]] = {}
    data: dict[str, str | dict[str, str]] = {}
    include: tuple[str, ...] = ()
    allowed_clusters: tuple[str, ...] = ()
    lock: tuple[str, ...] = ()
    clusters: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    server: dict[str, Any] = {}


class Settings(Struct, frozen=True, kw_only=True):
    """Everything merged."""

    places: Places
    run: RunDefaults = RunDefaults()
    servers: dict[str, Login] = {}
    scripts: dict[str, tuple[str, ...]] = {}
    data: dict[str, str | dict[str, str]] = {}
    """Path → target, or cluster → (path → target)."""
    include: tuple[str, ...] = ()
    allowed_clusters: tuple[str, ...] = ()
    """Empty: every cluster."""
    autostart: bool = True
    server: str = ""
    """``SHORE_SERVER``."""
    locked: tuple[str, ...] = ()
    """Keys (``run.cpus``) that only ``/etc`` sets."""

    def data_for(self, cluster: str) -> dict[str, str]:
        """Paths that are linked instead of sent when a job goes to this cluster."""
        flat = {path: target for path, target in self.data.items() if isinstance(target, str)}
        of_cluster = self.data.get(cluster)
        return flat | (of_cluster if isinstance(of_cluster, dict) else {})


_ENVIRONMENT = {
    "SHORE_ON": "on",
    "SHORE_QUEUE": "queue",
    "SHORE_CPUS": "cpus",
    "SHORE_MEM": "mem",
    "SHORE_TIME": "time",
    "SHORE_GPUS": "gpus",
    "SHORE_MAX_SEND": "max_send",
    "SHORE_ON_INTERRUPT": "on_interrupt",
    "SHORE_PASS_ENV": "pass_env",
    "SHORE_SEND_IGNORED": "send_ignored",
}
"""Environment variable → key of ``[run]``."""


_ALSO_READ = (
    "SHORE_AUTOSTART",
    "SHORE_DEBUG",
    "SHORE_IDLE_MINUTES",
    "SHORE_LISTEN",
    "SHORE_SERVER",
    "SHORE_STATE_DIR",
    "SHORE_TOKEN",
)
"""What is read elsewhere, by a client or by a server that it starts."""


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable ``SHORE_*`` that nothing reads."""
    known = (*_ENVIRONMENT, *_ALSO_READ)
    wrong = [name for name in environ if name.startswith("SHORE_") and name not in known]
    if not wrong:
        return []
    from ..model.check import unknown

    choices = {name: unknown("variable", name, known).partition("; ")[2] for name in sorted(wrong)}
    return [f"nothing reads {name}; {which}" for name, which in choices.items()]


def places_of(environ: Mapping[str, str]) -> Places:
    """Where things lie; nothing is made."""
    home = environ.get("HOME") or os.path.expanduser("~")  # noqa: PTH111 - the password database as fallback

    def folder(variable: str, default: str) -> Path:
        given = environ.get(variable, "")
        return Path(given) if given.startswith("/") else Path(home, default)

    named = environ.get("SHORE_STATE_DIR", "")
    return Places(
        state_dir=Path(named).absolute()
        if named
        else folder("XDG_STATE_HOME", ".local/state") / "shorepower",
        config_file=folder("XDG_CONFIG_HOME", ".config") / "shorepower" / "config.toml",
        cache_dir=folder("XDG_CACHE_HOME", ".cache") / "shorepower",
        runtime_dir=environ.get("XDG_RUNTIME_DIR", ""),
    )


def load_settings(environ: Mapping[str, str] = os.environ, *, project: Path | None = None) -> Settings:
    """Read and merge all files. Raises InvalidRequest naming file, key and the known keys."""
    places = places_of(environ)
    etc = _read(_ETC)
    user = _read(places.config_file)
    faults = [*_faults(_ETC, etc), *_faults(places.config_file, user, may_lock=False)]
    layers = [etc, user]
    if project is not None:
        file = project / PROJECT_FILE
        layers.append(_read(file))
        faults += _faults(file, layers[-1], project=True)
    if faults:
        raise InvalidRequest(faults)
    merged: dict[str, Any] = {}
    for table in layers:
        merged = _merge(merged, table)
    run = _merge(merged.get("run", {}), _from_environment(environ))
    locked = tuple(etc.get("lock", ()))
    for key in locked:
        section, _, field = key.partition(".")
        if section == "run" and field in etc.get("run", {}):
            run[field] = etc["run"][field]
    limits = merged.get("limits", {})
    autostart = limits.get("autostart", True) if isinstance(limits, dict) else True
    return Settings(
        places=places,
        run=_convert("the environment or [run]", run, RunDefaults),
        servers=_convert("[servers]", merged.get("servers", {}), dict[str, Login]),
        scripts={suffix: _command(command) for suffix, command in merged.get("scripts", {}).items()},
        data=_convert("[data]", merged.get("data", {}), dict[str, str | dict[str, str]]),
        include=_convert("include", merged.get("include", ()), tuple[str, ...]),
        allowed_clusters=_convert("allowed_clusters", merged.get("allowed_clusters", ()), tuple[str, ...]),
        autostart=bool(autostart)
        and environ.get("SHORE_AUTOSTART", "1").lower() not in ("0", "no", "false"),
        server=environ.get("SHORE_SERVER", ""),
        locked=locked,
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    import tomllib

    try:
        return tomllib.loads(data.decode())
    except ValueError as error:
        raise InvalidRequest([Fault(str(file), f"{file} is not valid TOML: {error}")]) from None


def _faults(
    file: Path, table: dict[str, Any], *, project: bool = False, may_lock: bool = True
) -> list[Fault]:
    """Everything that is wrong with one file, before the tables of several are one."""
    foreign = [key for key in sorted(table) if project and key not in _PROJECT_KEYS]
    found = [
        Fault(key, f"{file}: a project's file holds {', '.join(_PROJECT_KEYS)} only, not {key!r}")
        for key in foreign
    ]
    if "lock" in table and not may_lock:
        found.append(Fault("lock", f"{file}: lock: only {_SYSTEM_FILE} locks keys"))
    rest = {key: value for key, value in table.items() if key not in foreign}
    try:
        msgspec.convert(rest, _File)
    except msgspec.ValidationError:
        from ..model.check import unknown
        from ..wire.fields import faults_in, unknown_in

        wrong = [(fault.field, fault.message) for fault in faults_in(rest, _File)]
        wrong += [(one.field, unknown("key", one.key, one.known)) for one in unknown_in(rest, _File)]
        found += [Fault(key, f"{file}: {key}: {message}") for key, message in wrong]
    return found


def _convert(where: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        known = getattr(kind, "__struct_fields__", None)
        if "unknown field" in str(error):
            names = known or Login.__struct_fields__
            raise InvalidRequest(
                [Fault(where, f"{where}: {error}; known are {', '.join(names)}")]
            ) from None
        raise InvalidRequest([Fault(where, f"{where}: {error}")]) from None


def _command(command: object) -> tuple[str, ...]:
    if isinstance(command, str):
        import shlex

        return tuple(shlex.split(command))
    return _convert("[scripts]", command, tuple[str, ...])


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _spelled(key: str, variable: str, text: str) -> Any:
    """A variable's text as a file would hold it."""
    if key == "pass_env":
        return text.replace(",", " ").split()
    if key == "send_ignored":
        return text.lower() in ("1", "true", "yes", "on")
    if key == "cpus":
        try:
            return float(text)
        except ValueError:
            raise InvalidRequest(
                [Fault(variable, f"{variable}={text!r} is not a number of cpus")]
            ) from None
    return text


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable, key in _ENVIRONMENT.items():
        given = environ.get(variable)
        if not given:
            continue
        found[key] = _spelled(key, variable, given)
    return found
