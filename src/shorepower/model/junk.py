"""What never travels, either way: caches, environments, leftovers; and what looks like a secret. Pure."""

from __future__ import annotations

__all__ = ["is_junk", "is_secret_like"]


def is_junk(name: str, is_dir: bool) -> bool:
    """Whether a file or folder of this name is a cache, an environment or a leftover."""
    raise NotImplementedError


def is_secret_like(name: str) -> bool:
    """Whether a file of this name may hold a secret (``.env*``, ``*.pem``, …)."""
    raise NotImplementedError
