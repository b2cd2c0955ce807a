"""A private server on another host over the same state directory, as on the login nodes of a cluster."""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from .settings import Login, Places

__all__ = ["login_there", "serving_host"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")


class _Lease(Struct, frozen=True, kw_only=True):
    """What is needed of ``lease.json``."""

    host: str
    boot_id: str = ""


def serving_host(places: Places) -> str:
    """The other host that serves this state directory, as far as its lease says; empty when none does.

    Whether that one still lives is found out by going there, or by the server that is started here.
    """
    try:
        lease = msgspec.json.decode((places.state_dir / "lease.json").read_bytes(), type=_Lease)
    except (OSError, msgspec.DecodeError):
        return ""
    if lease.host == socket.gethostname() or lease.boot_id == _boot_id() or not _HOST.fullmatch(lease.host):
        return ""
    return lease.host


def login_there(host: str, environ: Mapping[str, str]) -> Login:
    """How to reach it: the same state directory, through ssh."""
    moved = environ.get("SHORE_STATE_DIR")
    command = f"env SHORE_STATE_DIR={shlex.quote(str(Path(moved).absolute()))} shore" if moved else ""
    return Login(url=f"ssh://{host}", remote_command=command)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
