"""What kind of file system a path is on."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["filesystem_at", "filesystem_of", "is_network"]

_MOUNTS = Path("/proc/self/mountinfo")

# Source: the kernel's fs/ and the names that the clients of parallel file systems register.
_NETWORK = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "fhgfs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs"),
    *("nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "virtiofs", "wekafs"),
)
# Source: fuse names of the programs; a FUSE file system not named here is taken for local.
_NETWORK_FUSE = (
    "ceph",
    "glusterfs",
    "goofys",
    "juicefs",
    "mfs",
    "moosefs",
    "nfs",
    "rclone",
    "s3fs",
    "sshfs",
)


def filesystem_of(path: Path) -> str:
    """Its type as the kernel names it (``ext4``, ``nfs4``, ``fuse.sshfs``); empty where nobody says."""
    try:
        table = _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return ""
    return filesystem_at(os.path.realpath(path), table)


def filesystem_at(real_path: str, table: str) -> str:
    """The type of the last mount that covers a path. Source: proc_pid_mountinfo(5)."""
    best, kind = -1, ""
    for line in table.splitlines():
        before, separator, after = line.partition(" - ")
        words = before.split(" ")
        if not separator or len(words) < 5:
            continue
        point = _unescaped(words[4])
        inside = real_path == point or real_path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:
            best, kind = len(point), after.split(" ", 1)[0]
    return kind


def is_network(filesystem: str) -> bool:
    """Whether other hosts may see the same files."""
    name, _, program = filesystem.partition(".")
    return program in _NETWORK_FUSE if name == "fuse" else filesystem in _NETWORK


def _unescaped(point: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(code, letter)
    return point
