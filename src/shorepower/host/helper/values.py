"""What a value may be, before anything is done with it."""

from __future__ import annotations

import os

__all__ = ["NO_UID", "are_texts", "are_variables", "is_number", "is_path", "is_text"]

NO_UID = 0xFFFF_FFFF
"""Means "leave it as it is" to setresuid(2)."""


def is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def is_path(value: object) -> bool:
    return is_text(value) and str(value).startswith("/")


def are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def is_number(value: object, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def are_variables(value: object) -> bool:
    return isinstance(value, dict) and all(
        n and "=" not in n and is_text(n) and is_text(v) for n, v in value.items()
    )
