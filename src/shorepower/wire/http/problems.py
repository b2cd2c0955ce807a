"""Errors as problem documents (RFC 9457), and back: both sides raise the same class."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from ...model.decoding import json_decoder
from ...model.errors import (
    Ambiguous,
    Busy,
    Conflict,
    Fault,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    ShorepowerError,
    StateDirectoryFault,
    StorageFault,
    SubmitRefused,
    TooLarge,
    UnknownSchedulerState,
    Unreachable,
)

__all__ = ["PROBLEM_TYPE", "Problem", "decode_problem", "error_of", "problem_of", "problem_with"]

PROBLEM_TYPE = "application/problem+json"
"""The media type."""
_URN = "urn:shorepower:problem:"


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every answer that says no."""

    type: str = "about:blank"
    """``urn:shorepower:problem:<slug>``; programs decide by this or by the status."""
    title: str = ""
    status: int = 0
    detail: str = ""
    """What is wrong with this request, in a sentence."""
    faults: tuple[Fault, ...] = ()
    """Every fault at once, each with its field."""
    retry_after_s: float | None = None
    """When to come again; also the header ``Retry-After``."""
    fits: tuple[str, ...] = ()
    """The jobs that an ambiguous name fits."""
    given: str = ""
    """The ambiguous name."""


# Error → (slug, status, title). The most special class that fits an error decides.
_TABLE: dict[type[ShorepowerError], tuple[str, int, str]] = {
    Ambiguous: ("ambiguous", 422, "Several jobs fit"),
    InvalidRequest: ("invalid-request", 422, "The request is wrong"),
    NotAuthenticated: ("not-authenticated", 401, "Who asks is unknown"),
    NotAllowed: ("not-allowed", 403, "Not allowed"),
    NotFound: ("not-found", 404, "Not found"),
    Conflict: ("conflict", 409, "Conflict"),
    TooLarge: ("too-large", 413, "Too large"),
    Busy: ("busy", 429, "Busy: come again"),
    SubmitRefused: ("submit-refused", 422, "The scheduler refused"),
    UnknownSchedulerState: ("unknown-scheduler-state", 502, "A scheduler said something unknown"),
    Unreachable: ("unreachable", 502, "Not reachable"),
    StorageFault: ("storage-fault", 507, "The disk refused"),
    StateDirectoryFault: ("state-directory", 500, "The state directory cannot be used"),
    ShorepowerError: ("failed", 500, "Failed"),
}
_BY_SLUG = {slug: kind for kind, (slug, _, _) in _TABLE.items()}

# What an answer means whose type is unknown: from a proxy, or from a later version.
_BY_STATUS: dict[int, type[ShorepowerError]] = {
    400: InvalidRequest,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    405: InvalidRequest,
    406: InvalidRequest,
    409: Conflict,
    413: TooLarge,
    415: InvalidRequest,
    421: InvalidRequest,
    422: InvalidRequest,
    429: Busy,
    431: TooLarge,
    502: Unreachable,
    503: Busy,
    504: Unreachable,
    507: StorageFault,
}

# What HTTP itself says no with, and no error of ours stands for.
_HTTP = {
    400: ("bad-request", "The request cannot be understood"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    406: ("not-acceptable", "Not acceptable"),
    413: ("too-large", "Too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
    421: ("misdirected", "Misdirected request"),
    431: ("too-large", "Headers too large"),
    500: ("internal", "The server failed"),
}


def problem_of(error: ShorepowerError) -> Problem:
    """The document of an error of ours."""
    slug, status, title = _TABLE[next(kind for kind in type(error).__mro__ if kind in _TABLE)]
    return Problem(
        type=_URN + slug,
        title=title,
        status=status,
        detail=str(error),
        faults=error.faults if isinstance(error, InvalidRequest) else (),
        retry_after_s=error.retry_after_s if isinstance(error, Busy) else None,
        fits=error.fits if isinstance(error, Ambiguous) else (),
        given=error.given if isinstance(error, Ambiguous) else "",
    )


def problem_with(status: int, detail: str, faults: tuple[Fault, ...] = ()) -> Problem:
    """The document of something that HTTP itself says no to, by status."""
    slug, title = _HTTP.get(status, _HTTP[500] if status >= 500 else _HTTP[400])
    return Problem(type=_URN + slug, title=title, status=status, detail=detail, faults=faults)


def decode_problem(body: bytes) -> Problem | None:
    """The document in an answer's body; None when there is none that says anything."""
    try:
        problem = json_decoder(Problem).decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    return problem if problem.detail or problem.title or problem.faults else None


def error_of(
    problem: Problem,
    status: int,
    headers: Mapping[str, str] = {},
    *,
    otherwise: type[ShorepowerError] = ShorepowerError,
) -> ShorepowerError:
    """The error that a document stands for, with all its faults; names of headers in lower case.

    ``otherwise`` is the class of what the server does not explain (500).
    """
    slug = problem.type.removeprefix(_URN) if problem.type.startswith(_URN) else ""
    kind = _BY_SLUG.get(slug) or _BY_STATUS.get(status, otherwise)
    if kind is ShorepowerError:
        kind = otherwise
    sentence = problem.detail or problem.title or f"status {status}"
    if kind is Ambiguous:
        return Ambiguous(problem.given, problem.fits) if problem.fits else InvalidRequest(sentence)
    if kind is InvalidRequest:
        return InvalidRequest(problem.faults or sentence)
    if kind is Busy:
        return Busy(sentence, _retry_after_s(problem, headers))
    return kind(sentence)


def _retry_after_s(problem: Problem, headers: Mapping[str, str]) -> float:
    """Seconds to wait. The header may hold a date, about which clocks disagree: then 1."""
    if problem.retry_after_s is not None:
        seconds = problem.retry_after_s
    else:
        told = headers.get("retry-after", "")
        seconds = float(told) if told.isascii() and told.isdecimal() else 1.0
    return min(max(seconds, 0.0), 300.0)
