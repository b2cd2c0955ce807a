"""Who asks."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

__all__ = ["Caller", "Scope"]


class Scope(StrEnum):
    """How far a credential reaches."""

    FULL = "full"
    """Everything the user may do."""
    READ = "read"
    """Look, never change."""
    SUBMIT = "submit"
    """Submit, and see what was submitted with the same token's user; no control of tokens."""


class Caller(Struct, frozen=True, kw_only=True):
    """One authenticated user with the scope of the credential used."""

    user: str
    """The name that owns jobs. On a private server: the login name of the server's own uid."""
    uid: int | None = None
    """The operating system's number where the connection proved one (Unix socket)."""
    scope: Scope = Scope.FULL
    via: str = "socket"
    """``socket`` or ``token:<token id>``."""
