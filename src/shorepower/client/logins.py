"""Logins kept in the user's configuration; everything else in the file, comments too, stays as it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ..model.errors import InvalidRequest, StateDirectoryFault
from .settings import Login, Places, Settings

__all__ = ["check_name", "forget_login", "keep_login", "keep_token"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_name(name: str) -> str:
    """The name itself. Raises InvalidRequest."""
    if not _NAME.fullmatch(name) or name == "private":
        raise InvalidRequest(
            f"{name!r} cannot name a login: letters, digits, '.', '-' and '_', not 'private'"
        )
    return name


def keep_login(places: Places, name: str, login: Login) -> None:
    """Write a login; a default one takes that mark from all others."""
    document = _read(places.config_file)
    import tomlkit

    servers = document.setdefault("servers", tomlkit.table(is_super_table=True))
    if login.default:
        for other in servers.values():
            other.pop("default", None)
    table = tomlkit.table()
    for field in Login.__struct_fields__:
        value = getattr(login, field)
        if value != getattr(Login(url=""), field):
            table[field] = value
    servers[name] = table
    _write(places.config_file, tomlkit.dumps(document))


def forget_login(settings: Settings, name: str) -> Login:
    """Take a login away, with its token; the login that it was. Raises InvalidRequest naming the known."""
    if name not in settings.servers:
        from ..model.check import unknown

        raise InvalidRequest(unknown("login", name, settings.servers))
    login = settings.servers[name]
    document = _read(settings.places.config_file)
    import tomlkit

    document.get("servers", {}).pop(name, None)
    if not document.get("servers", True):
        document.pop("servers")
    _write(settings.places.config_file, tomlkit.dumps(document))
    if login.token_file and Path(login.token_file).parent == settings.places.tokens_dir:
        Path(login.token_file).unlink(missing_ok=True)
    return login


def keep_token(places: Places, name: str, token: str) -> Path:
    """A file with the token, for nobody else to read."""
    file = places.tokens_dir / name
    try:
        places.tokens_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as made:
            made.write(token + "\n")
    except OSError as error:
        raise StateDirectoryFault(f"the token cannot be kept in {file}: {error.strerror}") from None
    return file


def _read(file: Path) -> Any:
    import tomlkit

    try:
        return tomlkit.parse(file.read_text()) if file.exists() else tomlkit.document()
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{file} cannot be read: {error}") from None


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{os.getpid()}")
        beside.write_text(text)
        if file.exists():
            beside.chmod(file.stat().st_mode & 0o777)
        beside.replace(file.resolve() if file.is_symlink() else file)
    except OSError as error:
        raise StateDirectoryFault(f"{file} cannot be written: {error.strerror}") from None
