"""Errors travel as documents and come out as the same class with everything they knew."""

import json

import msgspec
import pytest

from shorepower.model import errors
from shorepower.model.errors import (
    Ambiguous,
    Busy,
    Fault,
    InvalidRequest,
    NotFound,
    ShorepowerError,
    Unreachable,
)
from shorepower.wire.http.problems import decode_problem, error_of, problem_of, problem_with

KINDS = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, Exception)
]


def sample(kind: type[ShorepowerError]) -> ShorepowerError:
    special = {
        Ambiguous: lambda: Ambiguous("ab", ["abc", "abd"]),
        Busy: lambda: Busy("full", 7.0),
        InvalidRequest: lambda: InvalidRequest([Fault("a.b", "is wrong"), Fault("c", "too")]),
    }
    return special.get(kind, lambda: kind("a sentence"))()


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_comes_back_as_itself(kind: type[ShorepowerError]) -> None:
    error = sample(kind)
    told = problem_of(error)

    problem = decode_problem(msgspec.json.encode(told))
    assert problem is not None
    back = error_of(problem, told.status)

    assert type(back) is kind
    assert str(back) == str(error)
    assert vars(back) == vars(error)
    assert 400 <= told.status < 600
    assert told.title


class Special(NotFound):
    pass


def test_a_subclass_is_told_as_what_it_is_a_kind_of() -> None:
    assert problem_of(Special("x")).status == 404


def test_a_document_has_the_five_words_of_the_standard_and_the_faults() -> None:
    document = json.loads(msgspec.json.encode(problem_of(sample(InvalidRequest))))

    assert document == {
        "type": "urn:shorepower:problem:invalid-request",
        "title": "The request is wrong",
        "status": 422,
        "detail": "is wrong; too",
        "faults": [{"field": "a.b", "message": "is wrong"}, {"field": "c", "message": "too"}],
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound),
        (400, InvalidRequest),
        (405, InvalidRequest),
        (503, Busy),
        (502, Unreachable),
        (418, ShorepowerError),
    ],
)
def test_a_document_of_somebody_else_is_judged_by_its_status(
    status: int, kind: type[ShorepowerError]
) -> None:
    problem = decode_problem(b'{"type":"https://example.org/x","title":"No","status":%d}' % status)
    assert problem is not None

    assert type(error_of(problem, status)) is kind


def test_the_client_may_name_the_class_of_what_is_not_explained() -> None:
    class ServerFault(ShorepowerError):
        pass

    assert type(error_of(problem_with(500, "broken"), 500, otherwise=ServerFault)) is ServerFault


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "5"}, 5.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 1.0),
        ({}, 1.0),
        ({"retry-after": "99999"}, 300.0),
    ],
)
def test_when_to_come_again(headers: dict[str, str], seconds: float) -> None:
    error = error_of(problem_with(503, "later"), 503, headers)

    assert isinstance(error, Busy)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"title":1}', b"[" * 100_000])
def test_what_is_no_document_of_ours_is_none(body: bytes) -> None:
    assert decode_problem(body) is None
