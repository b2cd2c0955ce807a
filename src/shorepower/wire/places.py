"""Where a private server of one state directory listens. Pure: nothing is looked at or made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..model.errors import StateDirectoryFault

__all__ = ["SOCKET_PATH_LIMIT_BYTES", "socket_folder", "socket_path"]

SOCKET_PATH_LIMIT_BYTES = 107
"""Source: unix(7): ``sun_path`` has 108 bytes, and one is the end mark."""


def socket_path(state_dir: Path | str, runtime_dir: Path | str | None, uid: int) -> Path:
    """The socket of a state directory, whose path is real (no symbolic link in it).

    Below ``$XDG_RUNTIME_DIR`` where that is given, absolute and short enough, else below ``/tmp``.
    Raises StateDirectoryFault when neither is short enough for a socket.
    """
    name = hashlib.sha256(bytes(Path(state_dir))).hexdigest()[:8] + ".sock"
    for folder in _folders(runtime_dir, uid):
        path = folder / name
        if len(bytes(path)) <= SOCKET_PATH_LIMIT_BYTES:
            return path
    raise StateDirectoryFault(
        f"no place for a socket: its path has at most {SOCKET_PATH_LIMIT_BYTES} bytes"
    )  # pragma: no cover - /tmp is short enough


def socket_folder(runtime_dir: Path | str | None, uid: int) -> Path:
    """The folder of the sockets, to be made with mode 0700 and checked for its owner."""
    return socket_path("/", runtime_dir, uid).parent


def _folders(runtime_dir: Path | str | None, uid: int) -> list[Path]:
    fallback = Path(f"/tmp/shorepower-{uid}")  # noqa: S108 - made 0700, its owner is checked
    if runtime_dir and Path(runtime_dir).is_absolute():
        return [Path(runtime_dir, "shorepower"), fallback]
    return [fallback]
