"""What a task asks for, and how people write it."""

from __future__ import annotations

import re

from msgspec import Struct

__all__ = [
    "Resources",
    "counted",
    "format_duration",
    "format_memory",
    "parse_cpus",
    "parse_duration",
    "parse_gpus",
    "parse_memory",
]


class Resources(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one task asks for; ``None`` leaves it to the queue."""

    cpu_count: float | None = None
    memory_mib: int | None = None
    """Mebibytes, as Slurm counts its M. Source: sbatch(1), --mem."""
    gpu_count: int | None = None
    gpu_type: str | None = None
    wall_time_s: int | None = None

    @property
    def asks_nothing(self) -> bool:
        """Whether neither cpus, memory nor GPUs were asked for."""
        return self.cpu_count is None and self.memory_mib is None and not self.gpu_count


def counted(count: float, noun: str) -> str:
    """``1 cpu``, ``0.5 cpus``, ``0 jobs``, ``12,000 files``."""
    figure = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{figure} {noun}{'' if count == 1 else 's'}"


_MEMORY_UNITS = {"": 1, "M": 1, "MB": 1, "MIB": 1, "K": 1 / 1024, "KB": 1 / 1024, "KIB": 1 / 1024}
_MEMORY_UNITS |= {
    f"{letter}{tail}": 1024**power for letter, power in (("G", 1), ("T", 2)) for tail in ("", "B", "IB")
}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def parse_memory(text: str, what: str = "memory") -> int:
    """Mebibytes of ``8G``, ``512M``, ``512`` (MiB) or ``1.5T``. Raises ValueError in words, of ``what``."""
    found = _MEMORY.fullmatch(text.strip())
    if not found or found[2].upper() not in _MEMORY_UNITS:
        raise ValueError(f"{text!r} is not an amount of {what}; write 8G, 512M (or 512), 1.5T")
    mebibytes = float(found[1]) * _MEMORY_UNITS[found[2].upper()]
    if mebibytes < 1:
        raise ValueError(f"{text!r} is less than 1 MiB of {what}")
    if mebibytes > 2**40:
        raise ValueError(f"{text!r} is more {what} than any machine has")
    return round(mebibytes)


def parse_cpus(text: str) -> float:
    """A number of cpus above 0, parts allowed (``0.5``). Raises ValueError in words."""
    if not re.fullmatch(r"\d+(\.\d+)?|\.\d+", text.strip()):
        raise ValueError(f"{text!r} is not a number of cpus; write 4 or 0.5")
    count = float(text)
    if not 0.01 <= count <= 100_000:
        raise ValueError(f"{text!r} cpus: choose between 0.01 and 100000")
    return count


def parse_gpus(text: str) -> tuple[int, str | None]:
    """(count, type) of ``2`` or ``a100:2``. Raises ValueError in words."""
    kind, _, count = text.strip().rpartition(":")
    if not re.fullmatch(r"\d{1,5}", count) or not re.fullmatch(r"[A-Za-z0-9_.-]*", kind):
        raise ValueError(f"{text!r} is not a number of GPUs; write 2 or a100:2")
    return int(count), kind or None


_UNITS_S = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_TERM = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d{1,2}))?(?::(\d{1,2}))?")


def parse_duration(text: str) -> int:
    """Seconds of ``30`` (minutes), ``1:30`` (minutes:seconds), ``90s``, ``2h``, ``1h30m``,
    ``1-12:00:00`` or ``1-12`` (days-hours). Raises ValueError in words.

    Source: sbatch(1), --time, for the forms without a unit.
    """
    wrong = ValueError(
        f"{text!r} is not a time; write 30 (minutes), 1:30 (minutes:seconds), 90s, 2h, 1h30m, 1-12:00:00"
    )
    given = text.strip().lower()
    if clock := _CLOCK.fullmatch(given):
        days, first, second, third = (int(part) if part else None for part in clock.groups())
        assert first is not None
        if days is not None:
            seconds = days * 86400 + first * 3600 + (second or 0) * 60 + (third or 0)
        elif third is not None:
            seconds = first * 3600 + (second or 0) * 60 + third
        else:
            seconds = first * 60 + (second or 0)
    else:
        terms = _TERM.findall(given)
        if not terms or _TERM.sub("", given) or any(unit not in _UNITS_S for _, unit in terms):
            raise wrong
        seconds = round(sum(float(number) * _UNITS_S[unit] for number, unit in terms))
    if not 0 < seconds <= 10 * 366 * 86400:
        raise ValueError(f"{text!r}: a time limit is between 1 second and 10 years")
    return seconds


def format_memory(mebibytes: float) -> str:
    """``4 GiB``, ``2.8 GiB``, ``512 MiB``."""
    for unit, size in (("TiB", 2**20), ("GiB", 2**10)):
        if mebibytes >= size:
            return f"{mebibytes / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{mebibytes:.0f} MiB" if mebibytes >= 10 else f"{mebibytes:.1f}".removesuffix(".0") + " MiB"


def format_duration(seconds: float) -> str:
    """``0.4 s``, ``42 s``, ``3 min 02 s``, ``2 h 05 min``, ``3 d 04 h``."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"
