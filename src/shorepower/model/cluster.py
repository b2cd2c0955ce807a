"""What is known of a place that runs jobs."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

__all__ = ["Capabilities", "ClusterInfo", "Queue"]


class Capabilities(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cluster can do; the dispatcher decides by these, never by a cluster's type."""

    fenced: bool = True
    """Sending the same submission twice starts it once."""
    shared_files: bool = True
    """It sees the server's file system: projects are staged there, results read from there."""
    suspend: bool = True
    enforces_memory: bool = False
    enforces_wall_time: bool = True


class Queue(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line in a cluster, with its limits for one task; None is unlimited or unknown."""

    name: str
    is_default: bool = False
    max_cpu_count: float | None = None
    max_memory_mib: int | None = None
    max_gpu_count: int | None = None
    max_wall_time_s: int | None = None


class ClusterInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last known information about a cluster."""

    name: str
    type: str
    queues: tuple[Queue, ...] = ()
    """Empty: the cluster knows no queues."""
    cpu_count: float | None = None
    """What all jobs together may take."""
    memory_mib: int | None = None
    gpu_count: int = 0
    gpu_types: tuple[str, ...] = ()
    cpus_free: float | None = None
    memory_free_mib: int | None = None
    capabilities: Capabilities = Capabilities()
    as_of: datetime | None = None
    stale_since: datetime | None = None
    why_stale: str = ""
