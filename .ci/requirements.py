"""Prints dependency groups of pyproject.toml as requirements, for a pip that knows no ``--group``.

``build-system`` names what builds the package, for an editable installation too.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())
editable = ["editables>=0.5"]  # Source: hatchling, get_requires_for_build_editable.
known = {**project["dependency-groups"], "build-system": project["build-system"]["requires"] + editable}
for group in sys.argv[1:]:
    if group not in known:
        sys.exit(f"no group {group!r}; choose from: {', '.join(sorted(known))}")
    print(*known[group], sep="\n")
