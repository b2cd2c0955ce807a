"""Headers of ours, and how their values are spelt. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

__all__ = [
    "IDEMPOTENCY_KEY",
    "VERSION",
    "WARNINGS",
    "bearer",
    "etag",
    "is_idempotency_key",
    "matches_etag",
    "read_warnings",
    "write_warnings",
]

VERSION = "Shorepower-Version"
"""In every answer, and in our own requests."""
WARNINGS = "Shorepower-Warnings"
"""Fields of a request that nobody knows, as `write_warnings` spells them."""
IDEMPOTENCY_KEY = "Idempotency-Key"

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_WARNINGS_LIMIT = 20
_NAME_LIMIT = 200


def write_warnings(fields: Iterable[str]) -> str:
    """``spec.foo, spec.b%20r``: percent-encoded, at most 20 names, the rest as ``…``."""
    names = [quote(name[:_NAME_LIMIT], safe=".[]-_", errors="replace") for name in fields]
    shown = names[:_WARNINGS_LIMIT]
    return ", ".join([*shown, "..."] if len(names) > len(shown) else shown)


def read_warnings(value: str) -> tuple[str, ...]:
    """The names in a header that `write_warnings` wrote."""
    return tuple(unquote(name) for part in value.split(",") if (name := part.strip()))


def etag(revision: int) -> str:
    """The entity tag of a revision."""
    return f'"{revision}"'


def matches_etag(if_none_match: str | None, revision: int) -> bool:
    """Whether a client already has this revision. Source: RFC 9110, §13.1.2 (weak comparison)."""
    if not if_none_match:
        return False
    given = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return "*" in given or etag(revision) in given


def bearer(authorization: str | None) -> str | None:
    """The token of ``Authorization: Bearer ...``; None for anything else."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def is_idempotency_key(text: str) -> bool:
    """Whether the text can be a key: 1 to 255 visible ASCII characters."""
    return _KEY.fullmatch(text) is not None
