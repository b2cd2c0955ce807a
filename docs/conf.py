"""How the documentation is built: Sphinx, MyST and furo; nothing is fetched from the network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import shorepower

project = "shorepower"
author = "The shorepower authors"
copyright = "2026, the shorepower authors"
release = version = shorepower.__version__

extensions = ["myst_parser", "generated"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"shorepower {release}"
html_copy_source = False
html_show_sphinx = False
