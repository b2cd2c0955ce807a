"""Prints dependency groups of pyproject.toml as requirements, for a pip that knows no ``--group``.

``build-system`` names what builds the package.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())
known = {**project["dependency-groups"], "build-system": project["build-system"]["requires"]}
for group in sys.argv[1:]:
    if group not in known:
        sys.exit(f"no group {group!r}; choose from: {', '.join(sorted(known))}")
    print(*known[group], sep="\n")
