"""What a configuration file may hold: one schema for all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from ..client.settings import Login, RunDefaults
from ..model.resources import parse_cpus, parse_duration, parse_gpus, parse_memory
from ..server.settings import parse_listen

__all__ = [
    "ENVIRONMENT",
    "PROJECT_KEYS",
    "VALUES",
    "ClusterTable",
    "Document",
    "LimitsTable",
    "ServerTable",
]


class ClusterTable(Struct, frozen=True, kw_only=True):
    """``[clusters.NAME]``."""

    type: str
    """``local``."""
    cpus: float | None = None
    """At most so many cpus for all jobs together."""
    mem: str | int | None = None
    """At most so much memory for all jobs together."""


class LimitsTable(Struct, frozen=True, kw_only=True):
    """``[limits]``: what a private server does by itself, and what it keeps."""

    autostart: bool = True
    """Whether commands start a private server by themselves."""
    disk: str | int | None = None
    """What blobs and results may take together; else the smaller of 20 GB and 10 % of the disk."""
    keep_results_days: float = 30
    keep_output_days: float = 90
    keep_records_days: float = 365


class ServerTable(Struct, frozen=True, kw_only=True):
    """``[server]``: how a server listens and when it ends."""

    listen: str | None = None
    """A TCP port besides the Unix socket (``127.0.0.1:8080``); callers need tokens there."""
    tls_cert: str | None = None
    tls_key: str | None = None
    hosts: tuple[str, ...] = ()
    """Names that a proxy in front passes on in ``Host``."""
    base_path: str = ""
    """What a proxy in front leaves before ``/v1``."""
    idle_minutes: float = 15
    """A private server ends itself after so long with nothing to do; 0: never."""


class Document(Struct, frozen=True, kw_only=True):
    """A whole file, or all of them merged."""

    run: RunDefaults = RunDefaults()
    clusters: dict[str, ClusterTable] = {}
    servers: dict[str, Login] = {}
    scripts: dict[str, str | tuple[str, ...]] = {}
    """Suffix → command, in which ``{script}`` stands for the file."""
    data: dict[str, str | dict[str, str]] = {}
    """Path → where it lies instead of being sent, or cluster → (path → target)."""
    limits: LimitsTable = LimitsTable()
    server: ServerTable = ServerTable()
    include: tuple[str, ...] = ()
    """Globs of what is sent although git ignores it."""
    allowed_clusters: tuple[str, ...] = ()
    """Clusters that the project may go to; empty: all."""
    lock: tuple[str, ...] = ()
    """Keys (``run.cpus``) that only this file sets; in ``/etc`` alone."""


PROJECT_KEYS = ("run", "data", "scripts", "include", "allowed_clusters")
"""What a project's file may hold: a repository that was cloned names no servers and no commands here."""

ENVIRONMENT = {
    "SHORE_ON": "run.on",
    "SHORE_QUEUE": "run.queue",
    "SHORE_CPUS": "run.cpus",
    "SHORE_MEM": "run.mem",
    "SHORE_TIME": "run.time",
    "SHORE_GPUS": "run.gpus",
    "SHORE_PASS_ENV": "run.pass_env",
    "SHORE_ON_INTERRUPT": "run.on_interrupt",
    "SHORE_MAX_SEND": "run.max_send",
    "SHORE_SEND_IGNORED": "run.send_ignored",
    "SHORE_AUTOSTART": "limits.autostart",
    "SHORE_LISTEN": "server.listen",
    "SHORE_IDLE_MINUTES": "server.idle_minutes",
}
"""Variable → key. ``SHORE_STATE_DIR`` and ``SHORE_SERVER`` are no settings but places."""


def _choice(*known: str) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value not in known:
            raise ValueError(f"{value!r} is none of: {', '.join(known)}")

    return check


def _text(parse: Callable[[str], object]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        parse(str(value))

    return check


def _at_least(least: float) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value < least:
            raise ValueError(f"{value:g} is less than {least:g}")

    return check


VALUES: Mapping[str, Callable[[Any], None]] = {
    "run.cpus": _text(parse_cpus),
    "run.mem": _text(parse_memory),
    "run.time": _text(parse_duration),
    "run.gpus": _text(parse_gpus),
    "run.max_send": _text(parse_memory),
    "run.on_interrupt": _choice("ask", "leave", "stop"),
    "clusters.*.type": _choice("local"),
    "clusters.*.cpus": _text(parse_cpus),
    "clusters.*.mem": _text(parse_memory),
    "limits.disk": _text(parse_memory),
    "limits.keep_results_days": _at_least(0),
    "limits.keep_output_days": _at_least(0),
    "limits.keep_records_days": _at_least(1),
    "server.listen": _text(parse_listen),
    "server.idle_minutes": _at_least(0),
}
"""Key → what raises ValueError, in words, for a value of the right type that makes no sense."""
