"""shorepower: run analyses elsewhere and bring their results home."""

__version__ = "0.1.0"
