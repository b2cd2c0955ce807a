"""The merged tables as the settings that each room declares for itself. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from ..client.settings import Places, Settings
from ..dispatch.places import DAY_S, DispatchSettings
from ..model.resources import parse_cpus, parse_memory
from ..server.settings import ServeSettings, parse_listen
from .find import Config

__all__ = ["client_settings", "dispatch_settings", "local_limits", "serve_settings"]


def client_settings(config: Config, places: Places, environ: Mapping[str, str]) -> Settings:
    """For the client."""
    told = config.document
    return Settings(
        places=places,
        run=told.run,
        servers=told.servers,
        scripts={
            suffix: tuple(shlex.split(command)) if isinstance(command, str) else command
            for suffix, command in told.scripts.items()
        },
        data=told.data,
        include=told.include,
        allowed_clusters=told.allowed_clusters,
        autostart=told.limits.autostart,
        server=environ.get("SHORE_SERVER", ""),
        locked=told.lock,
    )


def serve_settings(config: Config) -> ServeSettings:
    """For the HTTP front end. Raises InvalidRequest for a port open to others without TLS."""
    told = config.document.server
    return ServeSettings(
        listen=parse_listen(told.listen) if told.listen else None,
        tls_cert=Path(told.tls_cert) if told.tls_cert else None,
        tls_key=Path(told.tls_key) if told.tls_key else None,
        hosts=told.hosts,
        base_path=told.base_path,
        idle_stop_s=told.idle_minutes * 60,
    ).check()


def dispatch_settings(config: Config) -> DispatchSettings:
    """For the dispatcher."""
    told = config.document.limits
    return DispatchSettings(
        results_keep_s=told.keep_results_days * DAY_S,
        output_keep_s=told.keep_output_days * DAY_S,
        record_keep_s=told.keep_records_days * DAY_S,
        budget_bytes=parse_memory(str(told.disk)) << 20 if told.disk is not None else None,
    )


def local_limits(config: Config) -> tuple[float | None, int | None]:
    """(cpus, MiB of memory) that the local cluster's jobs may take at most; None: what the machine has."""
    told = config.document.clusters.get("local")
    if told is None:
        return None, None
    cpus = parse_cpus(str(told.cpus)) if told.cpus is not None else None
    return cpus, parse_memory(str(told.mem)) if told.mem is not None else None
