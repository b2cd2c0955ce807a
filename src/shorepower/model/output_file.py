"""Names of files that output is also saved in: the patterns of ``#SBATCH -o`` and ``-e``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["expand", "pattern_values"]

# Source: sbatch(1), "filename pattern": the number pads with zeros what is a number.
_PLACE = re.compile(r"%(\d{0,2})([A-Za-z%])")
_PADDED = frozenset("a")
_MOST_ZEROS = 10


def pattern_values(*, job: str, name: str, user: str, host: str = "", index: int = 0) -> dict[str, str]:
    """What each letter stands for; ``host`` may not be known yet. ``index`` is the user's own index of
    a task."""
    told = {"%": "%", "A": job, "j": job, "J": job, "a": str(index), "x": name, "u": user}
    return told | ({"N": host.partition(".")[0]} if host else {})


def expand(pattern: str, values: Mapping[str, str]) -> str:
    """The path that a pattern names; what no letter stands for stays as it is written.

    A value never adds a folder, nor leads to one above.
    """
    return "/".join(_part(part, values) for part in pattern.split("/"))


def _part(part: str, values: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        told = values.get(found[2])
        if told is None:
            return found[0]
        told = re.sub(r"[/\0]", "_", told)
        return told.zfill(min(int(found[1]), _MOST_ZEROS)) if found[1] and found[2] in _PADDED else told

    made = _PLACE.sub(value, part)
    return made if made not in (".", "..", "") or made == part else made.replace(".", "_") or "_"
