"""Finds the files, merges them with environment and flags, and converts them for each room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .find import Config, load
    from .write import remove_value, set_value

__all__ = ["Config", "load", "remove_value", "set_value"]

_ROOMS = {"Config": "find", "load": "find", "remove_value": "write", "set_value": "write"}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        from importlib import import_module

        return getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
