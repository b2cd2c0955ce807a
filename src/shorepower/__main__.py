"""``python -m shorepower`` is the command ``shore``."""

from .cli.main import main

main()
