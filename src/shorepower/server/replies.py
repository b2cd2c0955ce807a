"""Every no as a problem document."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.params import ParameterKwarg
from msgspec.structs import replace

from ..model.check import unknown
from ..model.errors import Busy, Fault, InvalidRequest, NotAuthenticated, ShorepowerError
from ..wire.fields import choices_of, sentence
from ..wire.http.problems import PROBLEM_TYPE, Problem, problem_of, problem_with
from .auth import Misdirected
from .logs import describe

__all__ = ["answer_to", "problem_response", "stopping"]

log = structlog.get_logger(__name__)


def answer_to(error: Exception) -> tuple[Problem, dict[str, str]]:
    """The document of any exception, and the headers that go with it. What is unexpected is logged,
    and nothing of it is told."""
    headers: dict[str, str] = {}
    if isinstance(error, ShorepowerError):
        problem = problem_of(error)
        if problem.status >= 500:
            log.warning("request failed", **describe(error))
    elif isinstance(error, Misdirected):
        problem = problem_with(421, str(error))
    elif isinstance(error, HTTPException) and error.status_code < 500:
        problem = _http_problem(error)
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    else:
        log.error("request failed", **describe(error))
        problem = problem_with(500, "the server failed; its log tells where")
    if isinstance(error, Busy):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return problem, headers


def problem_response(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """What the framework calls with whatever a route raised."""
    if isinstance(error, HTTPException) and error.status_code == 400 and isinstance(error.extra, list):
        error = InvalidRequest([fault for one in error.extra for fault in _faults(request, one)])
    problem, headers = answer_to(error)
    return Response(
        msgspec.json.encode(problem), status_code=problem.status, headers=headers, media_type=PROBLEM_TYPE
    )


def stopping(problem: Problem) -> Problem:
    """A refusal of a server on its way out: 503 instead of 429."""
    return replace(problem, status=503)


_SENTENCES = {
    404: "there is no such route; the whole interface is told at /v1/openapi.json",
    405: "this route knows other methods, see the header Allow",
}


def _http_problem(error: HTTPException) -> Problem:
    return problem_with(error.status_code, _SENTENCES.get(error.status_code, error.detail))


def _faults(request: Request[Any, Any, Any], told: Mapping[str, Any]) -> list[Fault]:
    """One of the framework's messages about a parameter, under the name that the caller used; where there
    are words to choose from, a fault for each value that is none of them."""
    name = str(told.get("key", ""))
    choices: tuple[str, ...] = ()
    known = request.route_handler.parsed_fn_signature.parameters.get(name)
    if known is not None:
        choices = choices_of(known.annotation)
        if isinstance(known.kwarg_definition, ParameterKwarg):
            name = known.kwarg_definition.name or name
    given = dict.fromkeys(request.query_params.getall(name, [])) if choices else ()
    wrong = [Fault(name, unknown(name, value, choices)) for value in given if value not in choices]
    return wrong or [Fault(name, sentence(str(told.get("message", "is wrong"))))]
