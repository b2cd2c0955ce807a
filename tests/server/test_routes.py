"""What each route answers, over a real Unix socket."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
import zstandard

from shorepower.model.errors import Busy, InvalidRequest, StorageFault, Unreachable
from shorepower.model.job import JobSpec
from shorepower.model.lifecycle import State
from shorepower.model.tree import digest_of
from shorepower.server.accept import choose
from shorepower.server.openapi import document
from shorepower.server.settings import Listen, ServeSettings, parse_listen
from shorepower.wire.http.bodies import unknown_fields
from shorepower.wire.http.frames import FRAMES, FrameReader, encode_frame

pytestmark = pytest.mark.anyio

SPEC = {"name": "n", "argv": ["x"], "tags": {"a": "b"}}


def frames(body: bytes) -> list[tuple[dict, bytes]]:
    reader = FrameReader()
    found = list(reader.feed(body))
    reader.finish()
    return found


async def test_a_submit_is_new_once_under_its_key(front) -> None:
    body = {"spec": SPEC, "secrets": {"TOKEN": "hidden"}}
    first = await front.ask("POST", "/v1/jobs", body, Idempotency_Key="k1")
    again = await front.ask("POST", "/v1/jobs", body, Idempotency_Key="k1")
    other = await front.ask("POST", "/v1/jobs", {"spec": {**SPEC, "name": "m"}}, Idempotency_Key="k1")
    free = await front.ask("POST", "/v1/jobs", body)

    assert (first.status, again.status, other.status, free.status) == (201, 200, 409, 201)
    assert first.json() == again.json()
    assert first.headers["location"] == f"/v1/jobs/{first.json()['id']}"
    assert "shorepower-warnings" not in first.headers
    assert front.dispatcher.secrets[first.json()["id"]] == {"TOKEN": "hidden"}
    assert b"hidden" not in first.body


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "\u00e9"])
async def test_a_key_is_visible_ascii(front, key: str) -> None:
    answer = await front.ask("POST", "/v1/jobs", {"spec": SPEC}, Idempotency_Key=key)

    assert answer.status == 422
    assert answer.json()["faults"][0]["field"] == "Idempotency-Key"


async def test_unknown_fields_are_warned_about_and_the_job_is_taken(front) -> None:
    spec = {**SPEC, "cpus": 4, "resources": {"gpu\r\nX-Evil: 1": 2}}
    answer = await front.ask("POST", "/v1/jobs", {"spec": spec, "x": 1})

    assert answer.status == 201
    assert set(answer.headers["shorepower-warnings"].split(", ")) == {
        "spec.cpus",
        "spec.resources.gpu%0D%0AX-Evil%3A%201",
        "x",
    }
    assert "x-evil" not in answer.headers


async def test_every_fault_of_a_submit_comes_in_one_problem(front) -> None:
    answer = await front.ask("POST", "/v1/jobs", {"spec": {"name": 1, "resources": {"cpu_count": "x"}}})

    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {fault["field"] for fault in answer.json()["faults"]} == {
        "spec.name",
        "spec.argv",
        "spec.resources.cpu_count",
    }


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"spec": null}'])
async def test_a_body_that_is_nothing_is_refused(front, body: bytes) -> None:
    answer = await front.ask("POST", "/v1/jobs", body)

    assert answer.status == 422
    assert answer.json()["detail"]


async def test_an_oversized_body_is_refused_however_it_comes(make_front: Callable) -> None:
    async with make_front(json_body_bytes=1000).running() as front:
        told = await front.ask("POST", "/v1/jobs", b"x" * 1001)
        talk = await front.talk()
        await talk.raw(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(11):
            await talk.raw(b"64\r\n" + b"y" * 100 + b"\r\n")
        untold = await talk.head()
        lied = await front.talk()
        await lied.raw(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")

        assert (told.status, untold, await lied.head()) == (413, 413, 413)
        assert told.json()["type"] == "urn:shorepower:problem:too-large"
        assert (await front.ask("GET", "/healthz")).status == 200


async def test_a_body_that_stalls_is_given_up(make_front: Callable) -> None:
    async with make_front(body_timeout_s=0.05).running() as front:
        talk = await front.talk()
        await talk.raw(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")

        assert await talk.head() == 422
        assert front.life.quiet_for_s() > 0


async def test_a_job_is_shown_by_every_kind_of_name(front) -> None:
    job = front.dispatcher.add("ada", spec=JobSpec(name="fit/a b", argv=("x",)))
    for name in (job.id, job.id[:5], "@-1", "@fit%2Fa%20b"):
        answer = await front.ask("GET", f"/v1/jobs/{name}")
        assert (answer.status, answer.json().get("id")) == (200, job.id), name
    assert (await front.ask("GET", "/v1/jobs/@fit/a")).status == 404
    assert (await front.ask("GET", "/v1/jobs/%ff%00")).status == 404
    assert (await front.ask("GET", f"/v1/jobs/{job.id}/spec")).json()["name"] == "fit/a b"
    assert (await front.ask("GET", f"/v1/jobs/{job.id}/attempts")).json()["attempts"][0]["job"] == job.id


async def test_an_ambiguous_name_lists_what_fits(front) -> None:
    ids = {front.dispatcher.add("ada").id for _ in range(2)}
    answer = await front.ask("GET", "/v1/jobs/@job")

    assert answer.status == 422
    assert answer.json()["type"].endswith(":ambiguous")
    assert set(answer.json()["fits"]) == ids


async def test_a_revision_already_known_is_not_sent_again(front) -> None:
    job = front.dispatcher.add("ada")
    fresh = await front.ask("GET", f"/v1/jobs/{job.id}", If_None_Match='"1"')
    front.dispatcher.change(job.id, why="x")
    changed = await front.ask("GET", f"/v1/jobs/{job.id}", If_None_Match='"1"')

    assert (fresh.status, fresh.body, fresh.headers["etag"]) == (304, b"", '"1"')
    assert (changed.status, changed.headers["etag"]) == (200, '"2"')


async def test_a_list_is_filtered_by_what_the_query_says(front) -> None:
    query = "state=RUNNING&state=PENDING&on=hpc&name=n&tag=a%3Db&tag=c%3D&since=2026-01-01T00:00:00%2B02:00"
    answer = await front.ask("GET", f"/v1/jobs?{query}&recent=1&cursor=9&limit=7")
    wanted = front.dispatcher.wanted

    assert answer.json() == {"jobs": [], "next": None}
    assert wanted.states == (State.RUNNING, State.PENDING)
    assert (wanted.cluster, wanted.name, wanted.tags) == ("hpc", "n", {"a": "b", "c": ""})
    assert (wanted.recent, wanted.cursor, wanted.limit) == (True, "9", 7)
    assert wanted.since.isoformat() == "2026-01-01T00:00:00+02:00"


async def test_a_list_goes_on_by_its_cursor(front) -> None:
    for _ in range(3):
        front.dispatcher.add("ada")
    page = (await front.ask("GET", "/v1/jobs?limit=2")).json()

    assert (len(page["jobs"]), page["next"]) == (2, "7")


async def test_every_fault_of_a_query_comes_at_once_under_the_callers_names(front) -> None:
    answer = await front.ask("GET", "/v1/jobs?state=DONE&limit=0&since=now&recent=perhaps")

    assert answer.status == 422
    assert {fault["field"] for fault in answer.json()["faults"]} == {"state", "limit", "since", "recent"}
    assert (await front.ask("GET", "/v1/jobs?tag=x")).json()["faults"][0]["field"] == "tag"
    assert (await front.ask("GET", "/v1/jobs?since=2026-01-01T00:00:00")).json()["faults"][0][
        "field"
    ] == "since"
    assert (await front.ask("GET", "/v1/jobs/x?wait=-1&revision=1")).status == 422


@pytest.mark.parametrize("operation", ["stop", "kill", "suspend", "resume"])
async def test_controls_are_recorded_and_refused_after_the_end(front, operation: str) -> None:
    job = front.dispatcher.add("ada")
    asked = await front.ask("POST", f"/v1/jobs/{job.id}/{operation}")
    front.dispatcher.end(job.id)
    late = await front.ask("POST", f"/v1/jobs/{job.id}/{operation}")

    assert (asked.status, asked.json()["wanted"]) == (202, operation)
    assert (late.status, late.json()["type"]) == (409, "urn:shorepower:problem:conflict")


async def test_results_are_kept_pruned_and_marked(front) -> None:
    job = front.dispatcher.add("ada")
    kept = await front.ask("POST", f"/v1/jobs/{job.id}/keep", {"until": "2027-01-01T00:00:00Z"})
    good = await front.ask("POST", f"/v1/jobs/{job.id}/keep", {"until": None})
    silent = await front.ask("POST", f"/v1/jobs/{job.id}/keep", {})
    pulled = await front.ask("POST", f"/v1/jobs/{job.id}/pulled")
    pruned = await front.ask("POST", "/v1/prune", {"results": True, "ended_before": "2026-01-01T00:00:00Z"})

    assert kept.json()["results"]["expires_at"] == "2027-01-01T00:00:00Z"
    assert good.status == 200
    assert silent.status == 422
    assert (pulled.status, pulled.body, front.dispatcher.pulled) == (204, b"", [job.id])
    assert pruned.json() == {"freed_bytes": 5}
    assert (await front.ask("GET", "/v1/footprint")).json()["free_bytes"] == 3


async def test_clusters_and_paths(front) -> None:
    assert (await front.ask("GET", "/v1/clusters")).json()["clusters"][0]["name"] == "local"
    looked = (await front.ask("POST", "/v1/look", {"paths": ["/", "/no"]})).json()["paths"]
    assert (looked["/"]["exists"], looked["/no"]["exists"]) == (True, False)


async def test_tokens_are_made_listed_and_revoked(front) -> None:
    made = await front.ask("POST", "/v1/tokens", {"name": "laptop", "scope": "submit"})
    secret = made.json()["secret"]
    listed = await front.ask("GET", "/v1/tokens")
    used = await front.ask_port("GET", "/v1/whoami", Authorization=f"Bearer {secret}")
    gone = await front.ask("DELETE", f"/v1/tokens/{made.json()['token']['id']}")
    dead = await front.ask_port("GET", "/v1/whoami", Authorization=f"Bearer {secret}")

    assert made.status == 201
    assert secret.encode() not in listed.body
    assert used.json()["scope"] == "submit"
    assert (gone.status, dead.status) == (204, 401)


async def test_the_server_tells_itself(front) -> None:
    front.dispatcher.add("ada", state=State.RUNNING)
    told = (await front.ask("GET", "/v1/server")).json()

    assert told["counts"] == {"RUNNING": 1}
    assert (told["protocol"], told["version"], told["user"], told["private"]) == (
        "v1",
        "1.2.3",
        "ada",
        True,
    )


# blobs and files


async def test_blobs_go_in_plain_and_compressed_and_come_out(front) -> None:
    blobs = [b"", b"one", bytes(range(256)) * 1000]
    body = b"".join(encode_frame({"digest": digest_of(blob)}, blob) for blob in blobs)
    plain = await front.ask("POST", "/v1/blobs", body[: len(encode_frame({"digest": digest_of(b"")}))])
    packed = await front.ask(
        "POST", "/v1/blobs", zstandard.ZstdCompressor().compress(body), Content_Encoding="zstd"
    )
    wanted = [digest_of(blob) for blob in blobs] + [digest_of(b"absent")]
    missing = await front.ask("POST", "/v1/blobs:missing", {"digests": wanted})
    back = await front.ask("GET", f"/v1/blobs/{digest_of(blobs[2])}")

    assert (plain.status, packed.status) == (204, 204)
    assert missing.json() == {"missing": [digest_of(b"absent")]}
    assert (back.body, back.headers["content-type"]) == (blobs[2], "application/octet-stream")
    assert (await front.ask("GET", f"/v1/blobs/{digest_of(b'absent')}")).status == 404
    assert (await front.ask("GET", "/v1/blobs/..%2F..%2Fetc%2Fpasswd")).status == 422


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        encode_frame({"digest": "sha256:zz"}, b"x"),
        encode_frame({}, b"x"),
        encode_frame({"digest": digest_of(b"x")}, b"y"),
        encode_frame({"digest": digest_of(b"xy")}, b"xy")[:-1],
        b'{"digest":"%s","size":16777217}\n' % digest_of(b"").encode(),
    ],
)
async def test_blobs_that_are_not_what_they_say_are_refused(front, body: bytes) -> None:
    answer = await front.ask("POST", "/v1/blobs", body)

    assert answer.status == 422
    assert not front.dispatcher.blobs


async def test_a_zstd_bomb_is_refused(make_front: Callable) -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(encode_frame({"digest": "x"}, bytes(16 << 20)) * 8)
    assert len(bomb) < 100_000
    async with make_front().running() as front:
        answer = await front.ask("POST", "/v1/blobs", bomb, Content_Encoding="zstd")
        assert answer.status in (413, 422)
    async with make_front(blobs_body_bytes=1 << 20).running() as front:
        small = zstandard.ZstdCompressor().compress(
            encode_frame({"digest": digest_of(bytes(2 << 20))}, bytes(2 << 20))
        )
        answer = await front.ask("POST", "/v1/blobs", small, Content_Encoding="zstd")
        assert (answer.status, front.dispatcher.blobs) == (413, {})
        assert (await front.ask("POST", "/v1/blobs", b"x" * ((1 << 20) + 1))).status == 413


@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", b"x"), ("zstd", b"not zstd"), ("zstd, zstd", b"x")]
)
async def test_other_encodings_are_refused(front, encoding: str, body: bytes) -> None:
    assert (await front.ask("POST", "/v1/blobs", body, Content_Encoding=encoding)).status == 422


async def test_files_are_listed_and_read_in_pieces_with_an_end(front) -> None:
    job = front.dispatcher.add("ada")
    big = bytes(range(256)) * 10_000
    front.dispatcher.results[job.id] = {b"a.txt": b"hello", b"empty": b"", b"big": big}
    listed = (await front.ask("GET", f"/v1/jobs/{job.id}/files")).json()
    entries = [
        {"path": "a.txt", "offset": 2},
        {"path": "empty"},
        {"path": "gone"},
        {"path_b64": "YmlnCg==", "area": "results"},
        {"path_b64": "Ymln"},
    ]
    answer = await front.ask("POST", f"/v1/jobs/{job.id}/files:read", {"entries": entries})
    found = frames(answer.body)

    assert (listed["state"], len(listed["entries"])) == ("none", 3)
    assert answer.headers["content-type"] == FRAMES
    assert found[0] == ({"path": "a.txt", "area": "project", "offset": 2, "eof": True, "size": 3}, b"llo")
    assert found[1] == ({"path": "empty", "area": "project", "offset": 0, "eof": True, "size": 0}, b"")
    assert found[2][0]["error"] == "no such file"
    assert found[3][0] | {"error": ""} == {
        "path_b64": "YmlnCg==",
        "area": "results",
        "offset": 0,
        "eof": False,
        "error": "",
        "size": 0,
    }
    pieces = found[4:]
    assert [head["eof"] for head, _ in pieces] == [False, False, True]
    assert [head["offset"] for head, _ in pieces] == [0, 1 << 20, 2 << 20]
    assert b"".join(data for _, data in pieces) == big


@pytest.mark.parametrize("entry", [{}, {"path": "a", "path_b64": "YQ=="}, {"path_b64": "%"}])
async def test_a_file_without_one_name_is_refused(front, entry: dict) -> None:
    job = front.dispatcher.add("ada")
    answer = await front.ask("POST", f"/v1/jobs/{job.id}/files:read", {"entries": [entry]})
    assert answer.status == 422


# whatever goes wrong


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
    async with make_front(head_timeout_s=0.05).running() as front:
        silent, slow, second = [await front.talk() for _ in range(3)]
        await slow.raw(b"GET /v1/server HTTP/1.1\r\nHo")
        await second.send("GET", "/healthz")
        assert await second.head() == 200
        await second.rest()
        await second.raw(b"GET /heal")

        assert await silent.head() == 408
        assert await slow.head() == 408
        assert await second.head() == 408


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


# the description


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
