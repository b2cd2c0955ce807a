"""Answers that go on: resumed anywhere, alive, bounded, and over when they should be."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shorepower.model.errors import StorageFault
from shorepower.model.output import Cursor
from shorepower.wire.http.eventstream import EVENT_STREAM
from shorepower.wire.http.frames import FRAMES, FrameReader
from support.talk import Talk
from support.waiting import eventually

pytestmark = pytest.mark.anyio


def frames(body: bytes) -> list[tuple[dict[str, Any], bytes]]:
    reader = FrameReader()
    found = list(reader.feed(body))
    reader.finish()
    return found


def sse(body: bytes) -> list[dict[str, str]]:
    """Events of a stream; comments are left out."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":")
        )
        if fields:
            found.append(fields)
    return found


async def stream(front: Any, target: str, accept: str, **headers: str) -> Talk:
    talk = await front.talk()
    await talk.send("GET", target, headers={"Accept": accept, **headers})
    await talk.head()
    return talk


# output


async def test_one_look_gives_frames_and_where_to_go_on(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.write(job.id, b"hello\xff")
    front.dispatcher.gaps[job.id] = 2
    body = (await front.ask("GET", f"/v1/jobs/{job.id}/output", Accept=FRAMES)).body
    gap, output, more = frames(body)

    assert (gap[0]["kind"], gap[0]["offset"], gap[0]["missing_bytes"], gap[0]["size"]) == ("gap", 0, 2, 0)
    assert (output[0]["kind"], output[0]["offset"], output[1]) == ("output", 2, b"llo\xff")
    assert (output[0]["stream"], output[0]["task"], output[0]["attempt"]) == ("stdout", 0, 1)
    assert "missing_bytes" not in output[0]
    assert (more[0]["kind"], more[0]["cursor"]) == ("more", output[0]["cursor"])
    front.dispatcher.end(job.id)
    rest = await front.ask("GET", f"/v1/jobs/{job.id}/output?cursor={more[0]['cursor']}", Accept=FRAMES)
    assert [head["kind"] for head, _ in frames(rest.body)] == ["end"]


async def test_the_same_as_json(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.write(job.id, "grüße".encode())
    first = (await front.ask("GET", f"/v1/jobs/{job.id}/output")).json()
    front.dispatcher.write(job.id, b"\xff\x00")
    second = (await front.ask("GET", f"/v1/jobs/{job.id}/output?cursor={first['cursor']}")).json()
    tail = (await front.ask("GET", f"/v1/jobs/{job.id}/output?tail=1")).json()
    short = (await front.ask("GET", f"/v1/jobs/{job.id}/output?limit=1")).json()

    assert (first["pieces"][0]["text"], first["ended"]) == ("grüße", False)
    assert base64.b64decode(second["pieces"][0]["base64"]) == b"\xff\x00"
    assert tail["pieces"][0]["offset"] == 8
    assert short["pieces"][0]["text"] == "g"


@pytest.mark.parametrize("query", ["cursor=nonsense", "limit=0", "limit=99999999999", "tail=-1", "wait=x"])
@pytest.mark.parametrize("more", ["", "&follow=1"])
async def test_nonsense_is_refused_before_anything_flows(front, query: str, more: str) -> None:
    job = front.dispatcher.add("ada")
    answer = await front.ask("GET", f"/v1/jobs/{job.id}/output?{query}{more}", Accept=FRAMES)

    assert answer.status == 422
    assert (await front.ask("GET", "/v1/jobs/zzz/output?follow=1", Accept=FRAMES)).status == 404


async def test_a_long_poll_answers_as_soon_as_there_is_output(front) -> None:
    job = front.dispatcher.add("ada")
    talk = await front.talk()
    await talk.send("GET", f"/v1/jobs/{job.id}/output?wait=30", headers={"Accept": FRAMES})
    await eventually(lambda: front.dispatcher.waiters == 1)
    front.dispatcher.write(job.id, b"x")
    await talk.head()

    assert [data for _, data in frames(await talk.rest())] == [b"x", b""]


async def test_a_long_poll_is_over_in_time(front) -> None:
    job = front.dispatcher.add("ada")
    begun = time.monotonic()
    answer = await front.ask("GET", f"/v1/jobs/{job.id}/output?wait=0.05", Accept=FRAMES)

    assert [head["kind"] for head, _ in frames(answer.body)] == ["more"]
    assert 0.04 < time.monotonic() - begun < 2


async def test_a_follower_sees_everything_to_the_end(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.write(job.id, b"before ")
    talk = await stream(front, f"/v1/jobs/{job.id}/output?follow=1", FRAMES)
    body = await talk.until(b"before ")
    front.dispatcher.write(job.id, b"while " * 100_000)
    front.dispatcher.end(job.id)
    body += await talk.rest()
    found = [frame for frame in frames(body) if frame[0]["kind"] != "alive"]

    assert b"".join(data for _, data in found) == b"before " + b"while " * 100_000
    assert [head["kind"] for head, _ in found][-1] == "end"
    assert front.dispatcher.followers == 0


async def test_a_follower_may_begin_near_the_end(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.write(job.id, b"0123456789")
    front.dispatcher.end(job.id)
    answer = await front.ask("GET", f"/v1/jobs/{job.id}/output?follow=1&tail=3", Accept=FRAMES)

    assert [data for _, data in frames(answer.body)] == [b"789", b""]


async def test_a_silent_stream_gives_signs_of_life(front) -> None:
    job = front.dispatcher.add("ada")
    talk = await stream(front, f"/v1/jobs/{job.id}/output?follow=1", FRAMES)
    for _ in range(3):
        assert frames(await talk.piece())[0][0] == {"kind": "alive", "size": 0}
    events = await stream(front, f"/v1/jobs/{job.id}/output?follow=1", EVENT_STREAM)
    assert await events.piece() == b": alive\n\n"


async def test_output_as_events_resumes_after_the_last_one_seen(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.write(job.id, b"one")
    talk = await stream(front, f"/v1/jobs/{job.id}/output?follow=1", EVENT_STREAM)
    first = sse(await talk.until(b"\n\n"))[0]
    talk.close()
    await eventually(lambda: front.dispatcher.followers == 0)
    front.dispatcher.write(job.id, b"two")
    front.dispatcher.end(job.id)
    talk = await stream(front, f"/v1/jobs/{job.id}/output?follow=1", EVENT_STREAM, Last_Event_ID="")
    talk.close()
    again = await front.talk()
    await again.send(
        "GET",
        f"/v1/jobs/{job.id}/output?follow=1",
        headers={"Accept": EVENT_STREAM, "Last-Event-ID": first["id"]},
    )
    await again.head()
    rest = sse(await again.rest())

    assert (first["event"], json.loads(first["data"])["text"]) == ("output", "one")
    assert [event["event"] for event in rest] == ["output", "end"]
    assert json.loads(rest[0]["data"]) | {"cursor": ""} == {
        "kind": "output",
        "stream": "stdout",
        "task": 0,
        "attempt": 1,
        "offset": 3,
        "text": "two",
        "cursor": "",
    }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=st.lists(st.binary(min_size=1, max_size=300_000), max_size=5), cut=st.integers(1, 70_000))
async def test_frames_over_a_socket_are_whole_however_they_are_read(front, parts, cut) -> None:
    job = front.dispatcher.add("ada")
    talk = await stream(front, f"/v1/jobs/{job.id}/output?follow=1", FRAMES)
    for part in parts:
        front.dispatcher.write(job.id, part)
        await anyio.lowlevel.checkpoint()
    front.dispatcher.end(job.id)
    body = await talk.rest()
    talk.close()
    reader = FrameReader()
    found = [frame for at in range(0, len(body), cut) for frame in reader.feed(body[at : at + cut])]
    reader.finish()

    assert b"".join(data for _, data in found) == b"".join(parts)
    assert found[-1][0]["kind"] == "end"
    at = 0
    for head, data in found:
        if head["kind"] == "output":
            assert head["offset"] == at
            at += len(data)
            assert Cursor.decode(head["cursor"]).stdout == at


async def test_a_reader_that_goes_frees_its_follower_at_once(front) -> None:
    job = front.dispatcher.add("ada")
    talks = [await stream(front, f"/v1/jobs/{job.id}/output?follow=1", FRAMES) for _ in range(5)]
    await eventually(lambda: front.dispatcher.followers == 5)
    for talk in talks:
        talk.close()
    await eventually(lambda: front.dispatcher.followers == 0)


async def test_a_poll_whose_reader_goes_ends_at_once(front) -> None:
    job = front.dispatcher.add("ada")
    for target in (
        f"/v1/jobs/{job.id}?revision=1&wait=60",
        "/v1/events?wait=60",
        f"/v1/jobs/{job.id}/output?wait=60",
    ):
        talk = await front.talk()
        await talk.send("GET", target)
        await eventually(lambda: front.dispatcher.waiters == 1)
        talk.close()
        await eventually(lambda: front.dispatcher.waiters == 0)
    await eventually(lambda: front.life.quiet_for_s() > 0)


async def test_a_reader_that_takes_nothing_is_dropped(make_front: Callable) -> None:
    async with make_front(send_timeout_s=0.1).running() as front:
        job = front.dispatcher.add("ada")
        front.dispatcher.write(job.id, bytes(64 << 20))
        talk = await front.talk()
        talk.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await talk.send("GET", f"/v1/jobs/{job.id}/output?follow=1", headers={"Accept": FRAMES})
        await eventually(lambda: front.dispatcher.calls.count("output") == 1)
        await eventually(lambda: front.dispatcher.followers == 0 and front.life.quiet_for_s() > 0)
        talk.reader._transport.resume_reading()  # type: ignore[attr-defined]
        await talk.head()
        with pytest.raises((ConnectionError, EOFError)):
            await talk.rest()


async def test_a_fault_in_the_middle_cuts_the_answer_instead_of_ending_it(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.write(job.id, b"some")
    talk = await stream(front, f"/v1/jobs/{job.id}/output?follow=1", FRAMES)
    await talk.until(b"some")
    front.dispatcher.fault = StorageFault("gone")
    front.dispatcher.write(job.id, b"")
    with pytest.raises((ConnectionError, EOFError)):
        await talk.rest()


async def test_readers_are_bounded_and_others_still_served(make_front: Callable) -> None:
    async with make_front(waiting_at_once=2).running() as front:
        job = front.dispatcher.add("ada")
        for _ in range(2):
            await stream(front, f"/v1/jobs/{job.id}/output?follow=1", FRAMES)
        for target, accept in (
            (f"/v1/jobs/{job.id}/output?follow=1", FRAMES),
            ("/v1/events", EVENT_STREAM),
            (f"/v1/jobs/{job.id}?revision=1&wait=5", "*/*"),
        ):
            refused = await front.ask("GET", target, Accept=accept)
            assert (refused.status, refused.headers["retry-after"]) == (429, "5"), target
        assert (await front.ask("GET", f"/v1/jobs/{job.id}/output")).status == 200
        assert front.dispatcher.followers == 2


async def test_a_fault_while_waiting_is_told_as_itself(front) -> None:
    for target in (
        "/v1/jobs/zzz?revision=1&wait=5",
        "/v1/jobs/zzz/output?wait=5",
        "/v1/events?job=zzz&wait=5",
    ):
        assert (await front.ask("GET", target)).status == 404, target


# jobs and events


async def test_a_job_is_told_when_it_changes(front) -> None:
    job = front.dispatcher.add("ada")
    talk = await front.talk()
    await talk.send("GET", f"/v1/jobs/{job.id}?revision=1&wait=30")
    await eventually(lambda: front.dispatcher.waiters == 1)
    front.dispatcher.change(job.id, why="because")
    await talk.head()

    assert json.loads(await talk.rest())["why"] == "because"
    assert (await front.ask("GET", f"/v1/jobs/{job.id}?revision=2&wait=0.02")).json()["revision"] == 2
    assert (await front.ask("GET", f"/v1/jobs/{job.id}?revision=1&wait=30")).json()["revision"] == 2


async def test_events_as_pages_and_from_now_on(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.add("bob")
    front.dispatcher.end(job.id)
    everything = (await front.ask("GET", "/v1/events?after=0")).json()
    now = (await front.ask("GET", "/v1/events")).json()
    talk = await front.talk()
    await talk.send("GET", f"/v1/events?wait=30&job={job.id}")
    await eventually(lambda: front.dispatcher.waiters == 1)
    front.dispatcher.add("ada")
    front.dispatcher.change(job.id, why="x")
    await talk.head()
    page = json.loads(await talk.rest())

    assert [event["type"] for event in everything["events"]] == ["job.submitted", "job.state"]
    assert everything["next"] == 3
    assert now == {"events": [], "next": 3}
    assert [event["job"] for event in page["events"]] == [job.id]
    assert page["next"] == 5


async def test_events_as_a_stream_resume_after_the_last_one_seen(front) -> None:
    job = front.dispatcher.add("ada")
    talk = await stream(front, "/v1/events?after=0", EVENT_STREAM)
    first = sse(await talk.until(b"\n\n"))[0]
    talk.close()
    front.dispatcher.change(job.id, why="x")
    front.dispatcher.change(job.id, why="y")
    again = await front.talk()
    await again.send("GET", "/v1/events", headers={"Accept": EVENT_STREAM, "Last-Event-ID": first["id"]})
    await again.head()
    missed = sse(await again.until(b"id: 3"))
    front.dispatcher.change(job.id, why="z")
    live = sse(await again.until(b"id: 4"))

    assert (first["id"], first["event"]) == ("1", "job.submitted")
    assert [event["id"] for event in missed] == ["2", "3"]
    assert live[-1]["id"] == "4"
    assert json.loads(live[-1]["data"])["seq"] == 4
    assert again.headers["content-type"] == EVENT_STREAM
    assert again.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("header", "query"), [("x", ""), ("-1", ""), ("", "?after=-1"), ("", "?job=zzz")])
async def test_nonsense_about_events_is_refused(front, header: str, query: str) -> None:
    answer = await front.ask("GET", f"/v1/events{query}", Accept=EVENT_STREAM, Last_Event_ID=header)
    assert answer.status in (404, 422)
