"""``python3 -I -S helper [helper.toml]``, by the path of this folder wherever it lies."""

import importlib
import os
import sys

if not __package__:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = os.path.basename(os.path.dirname(os.path.abspath(__file__)))
raise SystemExit(importlib.import_module(".loop", __package__).main(sys.argv[1:]))
