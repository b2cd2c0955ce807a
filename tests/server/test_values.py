"""Values on their way home, over a real Unix socket."""

from __future__ import annotations

import pytest

from shorepower.wire.http.frames import FRAMES, FrameReader

pytestmark = pytest.mark.anyio


def frames(body: bytes) -> list[tuple[dict, bytes]]:
    reader = FrameReader()
    found = list(reader.feed(body))
    reader.finish()
    return found


async def test_values_come_as_frames(front) -> None:
    job = front.dispatcher.add("ada")
    front.dispatcher.values[job.id] = {3: b"abcdef", 0: b"x" * 100_000}

    answer = await front.ask("POST", f"/v1/jobs/{job.id}/values:read", {"offsets": {"3": 2}, "wait": 1})

    assert (answer.status, answer.headers["content-type"]) == (200, FRAMES)
    told = [(head["kind"], head["task"], head["offset"], body) for head, body in frames(answer.body)]
    assert told == [("value", 0, 0, b"x" * 100_000), ("value", 3, 2, b"cdef"), ("more", 0, 0, b"")]


async def test_a_long_poll_gives_signs_of_life(front) -> None:
    job = front.dispatcher.add("ada")

    answer = await front.ask("POST", f"/v1/jobs/{job.id}/values:read", {"wait": 0.3})

    assert {head["kind"] for head, _ in frames(answer.body)} == {"alive", "more"}


@pytest.mark.parametrize(
    "body", [{"offsets": {"-1": 0}}, {"offsets": {"0": -1}}, {"offsets": {"a": 1}}, {"wait": -1}, b"no"]
)
async def test_what_is_no_request_is_refused(front, body) -> None:
    job = front.dispatcher.add("ada")

    answer = await front.ask("POST", f"/v1/jobs/{job.id}/values:read", body)

    assert answer.status == 422
    assert answer.json()["faults"]


async def test_a_job_of_another_is_not_found(front) -> None:
    job = front.dispatcher.add("bob")

    assert (await front.ask("POST", f"/v1/jobs/{job.id}/values:read", {})).status == 404
