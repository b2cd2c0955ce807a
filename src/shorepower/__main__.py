"""``python -m shorepower`` is the command ``shore``."""

from .cli.main import main

if __name__ == "__main__":
    main()
