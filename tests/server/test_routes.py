"""What each route answers, over a real Unix socket."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shorepower.dispatch.dispatcher import TaskFilter
from shorepower.model.job import JobSpec
from shorepower.model.lifecycle import State

pytestmark = pytest.mark.anyio

SPEC = {"name": "n", "argv": ["x"], "tags": {"a": "b"}}


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


async def test_tasks_are_listed_as_asked(front) -> None:
    job = front.dispatcher.add("ada")
    asked = "state=FAILED&state=CANCELED&tasks=3-5,9&sort=-auc&cursor=abc&limit=7"
    answer = await front.ask("GET", f"/v1/jobs/{job.id}/tasks?{asked}")
    assert answer.json() == {
        "tasks": [{"index": 7, "state": "FAILED", "parameters": {"lr": "0.1"}}],
        "next": "further",
    }
    assert front.dispatcher.wanted_tasks == TaskFilter(
        states=(State.FAILED, State.CANCELED), tasks="3-5,9", sort="-auc", cursor="abc", limit=7
    )
    assert (await front.ask("GET", f"/v1/jobs/{job.id}/tasks?limit=0")).status == 422


@pytest.mark.parametrize("operation", ["stop", "kill"])
async def test_some_tasks_are_stopped_by_a_body(front, operation: str) -> None:
    job = front.dispatcher.add("ada")
    for body in (None, {}, {"tasks": "3-5,9"}):
        assert (await front.ask("POST", f"/v1/jobs/{job.id}/{operation}", body)).status == 202
    assert front.dispatcher.ended_tasks == [None, None, "3-5,9"]
    wrong = await front.ask("POST", f"/v1/jobs/{job.id}/{operation}", {"tasks": 3})
    assert (wrong.status, wrong.json()["faults"][0]["field"]) == (422, "tasks")


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
    assert pruned.json() == {"freed_bytes": 5, "uploading": False}
    assert (await front.ask("GET", "/v1/footprint")).json()["free_bytes"] == 3


async def test_what_goes_soon_is_told_and_told_back(front) -> None:
    told = (await front.ask("GET", "/v1/results:expiring")).json()
    back = await front.ask("POST", "/v1/results:warned", {"as_of": told["as_of"]})
    silent = await front.ask("POST", "/v1/results:warned", {})

    assert (told["count"], back.status, silent.status) == (0, 204, 422)
    assert (await front.ask("GET", "/v1/results:expiring")).json()["count"] == 1


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
