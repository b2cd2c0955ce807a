"""Which of several forms of an answer the caller asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request
from litestar.exceptions import HTTPException

__all__ = ["accepted", "choose"]


def accepted(request: Request[Any, Any, Any], offered: Sequence[str]) -> str:
    """The media type to answer with. Raises HTTPException (406) when none is wanted."""
    chosen = choose(request.headers.get("accept", ""), offered)
    if chosen is None:
        raise HTTPException(status_code=406, detail=f"this route answers with {', '.join(offered)}")
    return chosen


def choose(accept: str, offered: Sequence[str]) -> str | None:
    """The best of ``offered``, whose first is the default; None when none is acceptable.

    Source: RFC 9110, §12.5.1; parameters other than q are not looked at.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return offered[0]
    scores = [(_quality(media, ranges), -place, media) for place, media in enumerate(offered)]
    quality, _, best = max(scores)
    return best if quality > 0 else None


def _range(part: str) -> tuple[str, float]:
    media, *parameters = (word.strip().lower() for word in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return media, float(parameter[2:])
            except ValueError:
                return media, 0.0
    return media, 1.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """By the most special range that fits."""
    for pattern in (media, media.partition("/")[0] + "/*", "*/*"):
        for given, quality in ranges:
            if given == pattern:
                return quality
    return 0.0
