"""What this machine has for jobs: cpus, memory, GPUs, within the limits that this process has itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

__all__ = ["Gpu", "Machine", "Pressure", "detect", "oom_kills", "pressure"]

_KIB_A_MIB = 1024
_MIB = 1 << 20
_GPU_DEVICE = re.compile(r"nvidia(\d+)")
_NO_LIMIT = 1 << 60
"""A limit of cgroup v1 above this is none. Source: memory.limit_in_bytes holds LONG_MAX, page aligned."""


class Gpu(Struct, frozen=True):
    """One GPU, by the number that CUDA_VISIBLE_DEVICES takes."""

    number: str
    kind: str = ""
    """Model in small letters (``a100-sxm4-40gb``); empty where the driver does not tell."""


class Machine(Struct, frozen=True, kw_only=True):
    """What all jobs together may take."""

    cpu_count: float
    memory_mib: int
    """What is left after room for everything else: max(1 GiB, 10 %)."""
    gpus: tuple[Gpu, ...] = ()


class Pressure(Struct, frozen=True):
    """How much memory is left, of how much."""

    available_mib: float
    total_mib: float

    @property
    def short(self) -> bool:
        """Below 5 %: nothing may start. Source: the contract, §3."""
        return self.available_mib < self.total_mib * 0.05


def detect(root: Path = Path("/")) -> Machine:
    """Look at this machine. Blocking, quick. ``root`` is another place for /proc, /sys, /dev in tests."""
    groups = _groups(root)
    total = min(_meminfo(root)["MemTotal"], *(limit for limit, _ in _memory_limits(groups)), _NO_LIMIT)
    cpus = min([float(len(os.sched_getaffinity(0))), *_cpu_limits(groups)])
    return Machine(
        cpu_count=cpus,
        memory_mib=int(total - max(1024, total * 0.1)) if total > 1024 else 0,
        gpus=_gpus(root),
    )


def pressure(root: Path = Path("/")) -> Pressure:
    """The tightest of the machine and every control group this process is in. Blocking, quick."""
    memory = _meminfo(root)
    found = [Pressure(memory.get("MemAvailable", memory["MemTotal"]), memory["MemTotal"])]
    found += [Pressure(limit - used, limit) for limit, used in _memory_limits(_groups(root))]
    return min(found, key=lambda one: one.available_mib / one.total_mib)


def oom_kills(root: Path = Path("/")) -> int:
    """Processes that the kernel has ended for want of memory: in our control group where that is
    counted, else on the whole machine. Blocking, quick."""
    for kind, group in _groups(root):
        name = "memory.events" if kind == "v2" else "memory.oom_control"
        if kind in ("v2", "memory") and (text := _text(group / name)):
            counts = dict(line.split()[:2] for line in text.splitlines() if " " in line)
            if "oom_kill" in counts:
                return int(counts["oom_kill"])
    for line in (_text(root / "proc/vmstat") or "").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _meminfo(root: Path) -> dict[str, float]:
    """In MiB. Source: proc_meminfo(5)."""
    told = {}
    for line in (_text(root / "proc/meminfo") or "").splitlines()[:5]:
        name, _, rest = line.partition(":")
        told[name] = int(rest.split()[0]) / _KIB_A_MIB
    return told or {"MemTotal": 1024.0}


def _groups(root: Path) -> list[tuple[str, Path]]:
    """(controller or ``v2``, folder) of the control groups this process is in, and of their parents.

    Inside a container the path told may not be there: then what is mounted is the group itself.
    Source: cgroups(7), /proc/PID/cgroup.
    """
    found: list[tuple[str, Path]] = []
    base = root / "sys/fs/cgroup"
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers:
            tops = [(one, base / one) for one in controllers.split(",") if one in ("cpu", "memory")]
        else:
            tops = [("v2", base if (base / "cgroup.controllers").exists() else base / "unified")]
        for kind, top in tops:
            found += [(kind, folder) for folder in _upwards(top, path)]
    return found


def _upwards(top: Path, path: str) -> Iterator[Path]:
    folder = top / path.lstrip("/")
    while folder != top and top in folder.parents:
        if folder.is_dir():
            yield folder
        folder = folder.parent
    if top.is_dir():
        yield top


def _number(path: Path) -> int | None:
    text = (_text(path) or "").strip()
    return int(text) if text.lstrip("-").isdigit() else None  # "max" is no limit


def _memory_limits(groups: list[tuple[str, Path]]) -> list[tuple[float, float]]:
    """(limit, used) in MiB; what the kernel would give back at once does not count as used."""
    names = {
        "v2": ("memory.max", "memory.current", "inactive_file"),
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }
    found = []
    for kind, folder in groups:
        if kind not in names:
            continue
        limit_name, used_name, idle_name = names[kind]
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is None or used is None or limit >= _NO_LIMIT:
            continue
        stat = dict(line.split() for line in (_text(folder / "memory.stat") or "").splitlines())
        found.append((limit / _MIB, max(0, used - int(stat.get(idle_name, 0))) / _MIB))
    return found


def _cpu_limits(groups: list[tuple[str, Path]]) -> list[float]:
    found = []
    for kind, folder in groups:
        if kind == "v2":
            quota, _, period = (_text(folder / "cpu.max") or "max").strip().partition(" ")
            if quota.isdigit() and period.isdigit():
                found.append(int(quota) / int(period))
        elif kind == "cpu":
            quota_us, period_us = (_number(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
            if quota_us and period_us and quota_us > 0:
                found.append(quota_us / period_us)
    return found


def _gpus(root: Path) -> tuple[Gpu, ...]:
    """By device files; the models from the driver, if it tells. No program is run."""
    try:
        names = [entry.name for entry in (root / "dev").iterdir()]
    except OSError:
        return ()
    numbers = sorted(int(found[1]) for name in names if (found := _GPU_DEVICE.fullmatch(name)))
    kinds = _gpu_kinds(root)
    return tuple(Gpu(str(number), kinds.get(number, "")) for number in numbers)


def _gpu_kinds(root: Path) -> dict[int, str]:
    kinds: dict[int, str] = {}
    try:
        folders = list((root / "proc/driver/nvidia/gpus").iterdir())
    except OSError:
        return kinds
    for folder in folders:
        told: dict[str, str] = {}
        for line in (_text(folder / "information") or "").splitlines():
            name, _, value = line.partition(":")
            told[name.strip()] = value.strip()
        if told.get("Device Minor", "").isdigit():
            model = re.sub(r"^(nvidia|tesla|geforce)\s+", "", told.get("Model", "").lower())
            model = re.sub(r"^(tesla|geforce)\s+", "", model)
            kinds[int(told["Device Minor"])] = re.sub(r"[^a-z0-9.]+", "-", model).strip("-")
    return kinds
