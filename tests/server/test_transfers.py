"""Blobs on their way in and files on their way home, over a real Unix socket."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import zstandard

from shorepower.model.tree import digest_of
from shorepower.wire.http.frames import FRAMES, FrameReader, encode_frame

pytestmark = pytest.mark.anyio


def frames(body: bytes) -> list[tuple[dict, bytes]]:
    reader = FrameReader()
    found = list(reader.feed(body))
    reader.finish()
    return found


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
