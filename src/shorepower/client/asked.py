"""What a job asks for: flags, then the script's ``#SBATCH`` lines, then ``[run]``. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..model.errors import Fault
from ..model.resources import Resources, parse_duration, parse_gpus, parse_memory
from .options import Options
from .sbatch import Directives
from .settings import Settings

__all__ = ["asked_for"]

T = TypeVar("T")


def asked_for(options: Options, said: Directives, settings: Settings) -> tuple[Resources, list[Fault]]:
    """(what is asked for, what is wrong with it)."""
    faults = _locked(options, settings)
    run = settings.run

    def setting(key: str, value: str | int | None, read: Callable[[str], T]) -> T | None:
        try:
            return None if value is None else read(str(value))
        except ValueError as error:
            faults.append(Fault(f"run.{key}", f"[run] {key}: {error}"))
            return None

    memory = options.memory_mib or said.memory_mib or setting("mem", run.mem, parse_memory)
    seconds = options.wall_time_s or said.wall_time_s or setting("time", run.time, parse_duration)
    gpus = options.gpus or said.gpus or setting("gpus", run.gpus, parse_gpus) or (None, None)
    asked = Resources(
        cpu_count=options.cpus or said.cpus or run.cpus,
        memory_mib=memory,
        wall_time_s=seconds,
        gpu_count=gpus[0],
        gpu_type=gpus[1],
    )
    return asked, faults


def _locked(options: Options, settings: Settings) -> list[Fault]:
    """What an administrator has set for good, no flag changes."""
    asked = {
        "on": options.on,
        "queue": options.queue,
        "cpus": "auto" if "cpus" in options.auto else options.cpus,
        "mem": "auto" if "memory" in options.auto else options.memory_mib,
        "time": options.wall_time_s,
        "gpus": options.gpus,
    }
    return [
        Fault(
            f"run.{key}",
            f"{key} is {getattr(settings.run, key)!r} by /etc/shorepower/config.toml, for good",
        )
        for key, value in asked.items()
        if value is not None and f"run.{key}" in settings.locked and value != getattr(settings.run, key)
    ]
