"""Names of files and jobs are data: how they are shown, so that they can do nothing to a screen. Pure."""

from __future__ import annotations

import os

__all__ = ["quoted", "shown", "storable"]


def shown(name: str | bytes) -> str:
    """A name with everything that could move a cursor, or is not UTF-8, written as an escape."""
    text = os.fsdecode(name) if isinstance(name, bytes) else name
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def quoted(name: str | bytes) -> str:
    """The same in quotation marks, for sentences."""
    return f"'{shown(name)}'"


def storable(text: str) -> str:
    """Text that may quote names that are not UTF-8, with those bytes as escapes and all else as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_escape(one) if 0xD800 <= ord(one) <= 0xDFFF else one for one in text)
    return text


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode holds it
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape", "surrogatepass").decode()
