"""Whatever goes wrong is a problem document, and the server goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shorepower.model.errors import Busy, InvalidRequest, StorageFault, Unreachable

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (StorageFault("the disk is full"), 507),
        (Unreachable("hpc does not answer"), 502),
        (InvalidRequest("wrong"), 422),
        (Busy("full", 3.2), 429),
    ],
)
async def test_what_the_dispatcher_says_no_with_is_told(front, fault: Exception, status: int) -> None:
    front.dispatcher.fault = fault
    answer = await front.ask("GET", "/v1/server")

    assert answer.status == status
    assert answer.json()["detail"] == str(fault)
    assert answer.headers["shorepower-version"] == "1.2.3"
    assert answer.headers.get("retry-after") == ("4" if isinstance(fault, Busy) else None)


@pytest.mark.parametrize("fault", [KeyError("/home/ada/secret"), OSError(5, "x", "/home/ada/secret")])
async def test_what_is_unexpected_is_not_told(front, fault: Exception) -> None:
    front.dispatcher.fault = fault
    answer = await front.ask("GET", "/v1/server")

    assert answer.status == 500
    assert answer.json()["type"] == "urn:shorepower:problem:internal"
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/job", "/v1/jobs/a/b/c", "/v2/jobs", "/v1/jobs/../server", "/%00"]
)
async def test_an_unknown_route_is_a_problem(front, path: str) -> None:
    answer = await front.ask("GET", path)

    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["status"] == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/jobs"),
        ("DELETE", "/v1/server"),
        ("GET", "/v1/prune"),
        ("HEAD", "/v1/jobs"),
        ("PATCH", "/healthz"),
    ],
)
async def test_a_wrong_method_says_which_are_right(front, method: str, path: str) -> None:
    talk = await front.talk()
    await talk.send(method, path)

    assert await talk.head() == 405
    assert talk.headers["allow"]
    assert talk.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/server HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 400_000,
        b"GET /" + b"a" * 400_000,
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/server HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET /v1/server HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v1/server HTTP/1.1\r\n: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_hostile_heads_are_refused_and_the_server_goes_on(front, head: bytes) -> None:
    import contextlib

    talk = await front.talk()
    with contextlib.suppress(ConnectionError):
        await talk.raw(head)
        assert await talk.head() in (400, 401, 404, 408, 431)
    assert (await front.ask("GET", "/v1/server")).status == 200


async def test_a_head_that_never_ends_is_given_up(make_front: Callable) -> None:
    async with make_front(head_timeout_s=0.5).running() as front:
        silent, slow, second = [await front.talk() for _ in range(3)]
        await slow.raw(b"GET /v1/server HTTP/1.1\r\nHo")
        await second.send("GET", "/healthz")
        assert await second.head() == 200
        await second.rest()
        await second.raw(b"GET /heal")

        assert await silent.head() == 408
        assert await slow.head() == 408
        assert await second.head() == 408


async def test_a_path_without_end_is_refused(front) -> None:
    assert (await front.ask("GET", "/v1/jobs/" + "a" * 9000)).status == 413


async def test_a_websocket_is_not_spoken(front) -> None:
    answer = await front.ask("GET", "/v1/server", Connection="Upgrade", Upgrade="websocket")
    assert answer.status == 200


async def test_too_many_requests_and_connections_are_told_to_come_again(make_front: Callable) -> None:
    async with make_front(requests_at_once=0).running() as front:
        answer = await front.ask("GET", "/healthz")
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    async with make_front(connections=1).running() as front:
        await front.talk()
        second = await front.talk()
        assert await second.head() == 503


async def test_a_base_path_of_a_proxy_is_taken_off(make_front: Callable) -> None:
    async with make_front(base_path="/shore").running() as front:
        for path in ("/shore/v1/server", "/v1/server"):
            assert (await front.ask("GET", path)).status == 200
        assert (await front.ask("GET", "/shorev1/server")).status == 404


async def test_a_word_that_is_none_of_the_choices_is_told_with_all_of_them(front) -> None:
    answer = await front.ask("GET", "/v1/jobs?state=FOO&state=RUNNING&state=complete&limit=x")

    assert answer.status == 422
    words = "CANCELED, COMPLETED, FAILED, PENDING, RUNNING, SUSPENDED"
    assert answer.json()["faults"] == [
        {"field": "state", "message": f"no state 'FOO'; choose one of: {words}"},
        {
            "field": "state",
            "message": f"no state 'complete'; did you mean 'COMPLETED'? choose one of: {words}",
        },
        {"field": "limit", "message": "expected a whole number, got text"},
    ]


async def test_each_file_that_is_named_wrong_is_told(front) -> None:
    entries = [{"path": "a"}, {"path": "b", "path_b64": "Yg=="}, {"path_b64": "?"}]
    answer = await front.ask("POST", "/v1/jobs/abc/files:read", {"entries": entries})

    assert answer.status == 422
    assert [one["field"] for one in answer.json()["faults"]] == ["entries[1]", "entries[2]"]
