"""The interface describes itself; what it can be asked for, and how it can be set up."""

from __future__ import annotations

import json

import msgspec
import pytest

from shorepower.model.errors import InvalidRequest
from shorepower.model.job import JobSpec
from shorepower.server.accept import choose
from shorepower.server.openapi import document
from shorepower.server.settings import Listen, ServeSettings, parse_listen
from shorepower.wire.http.bodies import unknown_fields
from shorepower.wire.http.frames import FRAMES
from shorepower.wire.lines import LINES

pytestmark = pytest.mark.anyio


async def test_the_interface_describes_itself(front) -> None:
    told = (await front.ask("GET", "/v1/openapi.json")).json()

    assert told["openapi"].startswith("3.1")
    assert told == json.loads(msgspec.json.encode(document()))
    text = json.dumps(told)
    schemas = told["components"]["schemas"]
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas
    for path, item in told["paths"].items():
        for method, operation in item.items():
            assert operation["summary"], path
            assert "default" in operation["responses"]
            assert (method == "post" and "body" in str(operation)) or method != "put"
    assert schemas["JobSpec"]["properties"]["secrets"]["description"].startswith("Names of secret")
    assert told["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]


def test_what_json_prints_is_described_too() -> None:
    schemas = document()["components"]["schemas"]

    for kind in LINES:
        assert schemas[kind.__name__]["properties"]["type"] == {"enum": [kind.__struct_config__.tag]}
    assert schemas["EndLine"]["properties"]["job"] == {"$ref": "#/components/schemas/Job"}


def test_what_is_described_is_what_is_known() -> None:
    schema = document()["components"]["schemas"]["JobSpec"]["properties"]
    body = json.dumps(
        {"name": "n", "argv": ["x"], **{name: None for name in schema if name not in ("name", "argv")}}
    )
    assert unknown_fields(body.encode(), JobSpec) == ()


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "a/j"),
        ("*/*", "a/j"),
        ("a/*", "a/j"),
        ("a/f", "a/f"),
        ("A/F; charset=x", "a/f"),
        ("a/j;q=0.1, a/f", "a/f"),
        ("a/f;q=0.5, */*;q=0.1", "a/f"),
        ("a/j;q=0, */*", "a/f"),
        ("b/x", None),
        ("a/f;q=x", None),
    ],
)
def test_which_form_is_asked_for(accept: str, chosen: str | None) -> None:
    assert choose(accept, ("a/j", "a/f")) == chosen


async def test_a_form_that_is_not_offered_is_refused(front) -> None:
    job = front.dispatcher.add("ada")
    answer = await front.ask("GET", f"/v1/jobs/{job.id}/output", Accept="image/png")

    assert answer.status == 406
    assert FRAMES in answer.json()["detail"]


# settings


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:8080", Listen(host="127.0.0.1", port=8080)),
        ("[::1]:0", Listen(host="::1", port=0)),
        ("localhost:1", Listen(host="localhost", port=1)),
        ("0.0.0.0:65535", Listen(host="0.0.0.0", port=65535)),
    ],
)
def test_addresses_to_listen_on(text: str, listen: Listen) -> None:
    assert parse_listen(text) == listen


@pytest.mark.parametrize("text", ["", "8080", "localhost", "localhost:", ":80", "h:65536", "h:-1", "h:x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="no address to listen on"):
        parse_listen(text)


def test_settings_that_would_be_dangerous_are_refused_all_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        ServeSettings(
            listen=Listen(host="0.0.0.0", port=80), tls_key="/k", base_path="x/", idle_stop_s=-1
        ).check()
    assert len(caught.value.faults) == 4
    assert "127.0.0.1:80" in str(caught.value)
