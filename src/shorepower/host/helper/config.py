"""What root has decided: who may be served, and which programs may be started."""

from __future__ import annotations

import os
import pwd
import resource
import stat
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .values import NO_UID, are_texts, is_number, is_path

__all__ = ["CONFIG", "Config", "configured", "load", "owned_by_root", "uid_of"]

CONFIG = "/etc/shorepower/helper.toml"
SOCKET = "/run/shorepower-helper/helper.sock"


class Config(NamedTuple):
    """What root has decided."""

    server_uid: int
    socket: str = SOCKET
    minimum_uid: int = 1000
    allowed_groups: tuple[str, ...] = ()
    """Empty: the members of every group."""
    denied_users: tuple[str, ...] = ()
    shell: str = "/bin/sh"
    """The one program that `spawn` starts: jobs run in a shell's wrapper."""
    file_program: tuple[str, ...] = ()
    commands: Mapping[str, str] = {}
    no_new_privileges: bool = False
    """For jobs. The other programs never get any."""
    limits: Mapping[str, int] = {}


def load(path: str) -> Config:
    """Read the configuration. Raises SystemExit that tells every fault, OSError."""
    owned_by_root(path)
    with open(path, "rb") as file:
        try:
            return configured(tomllib.load(file))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise SystemExit(f"{path} is no TOML: {fault}") from None
        except ValueError as fault:
            raise SystemExit(f"{path}: {fault}") from None


def owned_by_root(path: str) -> None:
    """Raises SystemExit where anybody else could replace or change it, or a folder above it."""
    path = os.path.abspath(path)
    while True:
        found = os.lstat(path)
        sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if found.st_uid or stat.S_ISLNK(found.st_mode) or (found.st_mode & 0o022 and not sticky):
            raise SystemExit(f"{path} has to be root's, no link, and writable for root alone")
        if path == "/":
            return
        path = os.path.dirname(path)


def configured(raw: Mapping[str, Any]) -> Config:
    """Raises ValueError that tells every fault, with the keys there are."""
    names = {name.upper() for name in dir(resource) if name.startswith("RLIMIT_")}
    checks: dict[str, Callable[[Any], bool]] = {
        "server_user": lambda v: isinstance(v, str) and uid_of(v) > 0,
        "socket": is_path,
        "minimum_uid": lambda v: is_number(v, 1, NO_UID),
        "allowed_groups": are_texts,
        "denied_users": are_texts,
        "shell": is_path,
        "file_program": lambda v: are_texts(v) and bool(v) and is_path(v[0]),
        "commands": lambda v: isinstance(v, dict) and all(map(is_path, v.values())),
        "no_new_privileges": lambda v: isinstance(v, bool),
        "limits": lambda v: (
            isinstance(v, dict)
            and all("RLIMIT_" + n.upper() in names and is_number(m, 0, 1 << 62) for n, m in v.items())
        ),
    }
    faults = [f"unknown key {key!r}; known: {', '.join(checks)}" for key in raw if key not in checks]
    faults += [
        f"{key} = {raw[key]!r} cannot be" for key in raw if key in checks and not checks[key](raw[key])
    ]
    if "server_user" not in raw:
        faults.append("server_user is missing: the user that the server runs as, never root")
    if faults:
        raise ValueError("; ".join(faults))
    own: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in raw.items()
    }
    return Config(uid_of(own.pop("server_user")), **own)


def uid_of(name: str) -> int:
    """-1 where there is no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return -1
