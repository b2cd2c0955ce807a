"""What a job asks for, in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...model.resources import Resources, counted, format_duration, format_memory

if TYPE_CHECKING:
    from ...model.sizing import Need

__all__ = ["asked_line", "asked_words"]


def asked_words(asked: Resources, *, memory: str = "") -> list[str]:
    """``4 cpus``, ``8 GiB``, ``2 GPUs a100``, ``at most 30 min 00 s``; ``memory`` follows its figure."""
    parts = []
    if asked.cpu_count is not None:
        parts.append(counted(asked.cpu_count, "cpu"))
    if asked.memory_mib:
        parts.append(format_memory(asked.memory_mib) + memory)
    if asked.gpu_count:
        parts.append(counted(asked.gpu_count, "GPU") + (f" {asked.gpu_type}" if asked.gpu_type else ""))
    if asked.wall_time_s:
        parts.append(f"at most {format_duration(asked.wall_time_s)}")
    return parts


def asked_line(asked: Resources, *, enforces_memory: bool = True, need: Need | None = None) -> str:
    """``asks for 4 cpus, 8 GiB of memory, at most 30 min 00 s``, so that a slip is seen before it hurts,
    and what earlier runs used; empty when nothing is asked for."""
    memory = " of memory" + ("" if enforces_memory else " (kept free for it, but not enforced)")
    words = asked_words(asked, memory=memory)
    if not words:
        return ""
    return " · ".join([f"asks for {', '.join(words)}", *([str(need)] if need is not None else [])])
