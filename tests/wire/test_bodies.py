"""Every fault of a body at once; unknown keys are named; bytes survive JSON."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.errors import InvalidRequest, TooLarge
from shorepower.model.output import OutputPiece
from shorepower.wire.http.bodies import (
    FileWanted,
    KeepRequest,
    ReadRequest,
    SubmitRequest,
    TokenRequest,
    decode_body,
    output_part,
    unknown_fields,
)
from shorepower.wire.http.compression import decompressed
from shorepower.wire.http.eventstream import encode_event
from shorepower.wire.http.headers import bearer, matches_etag, read_warnings, write_warnings
from shorepower.wire.places import SOCKET_PATH_LIMIT_BYTES, socket_path

zstandard = pytest.importorskip("zstandard")


def faults(data: object, kind: type) -> dict[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        decode_body(json.dumps(data).encode(), kind)
    return {fault.field: fault.message for fault in caught.value.faults}


def test_words_to_choose_from_are_named() -> None:
    assert faults({"name": "x", "scope": "fulll"}, TokenRequest) == {
        "scope": "no scope 'fulll'; did you mean 'full'? choose one of: full, read, submit"
    }


def test_every_fault_of_a_submit_is_told_at_once() -> None:
    spec = {
        "name": 7,
        "resources": {"cpu_count": "four", "memory_mib": 1.5},
        "links": [{"path": "a"}, {"path": "b", "target": 1}],
        "env": {"A": 1, "B": "x"},
        "origin": [],
    }

    assert faults({"spec": spec, "secrets": {"T": None}}, SubmitRequest) == {
        "spec.name": "expected text, got a whole number",
        "spec.argv": "is required",
        "spec.resources.cpu_count": "expected a number or null, got text",
        "spec.resources.memory_mib": "expected a whole number or null, got a number",
        "spec.links[0].target": "is required",
        "spec.links[1].target": "expected text, got a whole number",
        "spec.env.A": "expected text, got a whole number",
        "spec.origin": "expected a table or null, got a list",
        "secrets.T": "expected text, got null",
    }


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        ([], SubmitRequest, ""),
        (None, SubmitRequest, ""),
        ({}, KeepRequest, "until"),
        ({"until": "2026-01-01T00:00:00"}, KeepRequest, "until"),
        ({"until": "soon"}, KeepRequest, "until"),
        ({"name": "x", "scope": "root"}, TokenRequest, "scope"),
        ({"entries": [{"path": "a", "offset": -1}]}, ReadRequest, "entries[0].offset"),
        ({"entries": [{}] * 10_001}, ReadRequest, ""),
    ],
)
def test_a_fault_names_its_field(body: object, kind: type, field: str) -> None:
    assert list(faults(body, kind)) == [field]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"nul", b"[" * 200_000])
def test_what_is_no_json_is_refused_in_words(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no JSON"):
        decode_body(body, SubmitRequest)


def test_unknown_keys_are_named_wherever_they_are() -> None:
    body = {
        "spec": {
            "name": "n",
            "argv": ["x"],
            "cpus": 4,
            "resources": {"cpu": 1},
            "links": [{"path": "a", "target": "/b", "mode": 1}],
            "tags": {"any": "key"},
        },
        "x": 1,
    }
    found = unknown_fields(json.dumps(body).encode(), SubmitRequest)

    assert {one.field for one in found} == {"spec.cpus", "spec.resources.cpu", "spec.links[0].mode", "x"}
    assert "cpu_count" in next(one for one in found if one.field == "spec.resources.cpu").known


@given(st.lists(st.text(min_size=1, max_size=50).map(str.strip).filter(bool), max_size=15))
def test_names_in_a_warning_cannot_break_the_header(names: list[str]) -> None:
    value = write_warnings(names)

    assert value.isascii()
    assert value.isprintable()
    assert list(read_warnings(value)) == names


def test_a_thousand_unknown_names_make_a_short_header() -> None:
    assert len(write_warnings("x" * 10_000 for _ in range(1000))) < 5000


@given(st.binary(max_size=200))
def test_bytes_survive_json(data: bytes) -> None:
    part = output_part(OutputPiece(kind="output", data=data))
    told = part.text.encode() if part.text is not None else base64.b64decode(part.base64 or "")

    assert told == data
    assert part.text is None or part.base64 is None


@pytest.mark.parametrize(
    "wanted", [FileWanted(), FileWanted(path="a", path_b64="YQ=="), FileWanted(path_b64="%")]
)
def test_a_file_is_named_one_way(wanted: FileWanted) -> None:
    with pytest.raises(InvalidRequest):
        wanted.raw_path()


def test_a_name_that_is_not_text_is_named_in_base64() -> None:
    assert FileWanted(path_b64="/2E=").raw_path() == b"\xffa"


def test_a_compressed_bomb_stops_at_the_limit() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(200 << 20))
    assert len(bomb) < 100_000
    held = 0

    with pytest.raises(TooLarge, match="at most 1048576 bytes"):
        for piece in decompressed(bomb, 1 << 20):
            held += len(piece)
    assert held <= 1 << 20


def test_a_sender_cannot_ask_for_a_huge_window() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=0)
    data = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = data.compress(bytes(1000)) + data.flush()

    with pytest.raises(InvalidRequest, match="zstd"):
        list(decompressed(body, 1 << 20))


@pytest.mark.parametrize("body", [b"not zstd at all", b"\x28\xb5\x2f\xfd" + b"\xff" * 20])
def test_what_is_not_zstd_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="zstd"):
        list(decompressed(body, 1000))


def test_several_zstd_frames_are_one_body() -> None:
    one = zstandard.ZstdCompressor().compress

    assert b"".join(decompressed(one(b"ab") + one(b"cd"), 10)) == b"abcd"


@pytest.mark.parametrize(
    ("given_", "same"),
    [
        ('"3"', True),
        ('W/"3"', True),
        ('"1", "3"', True),
        ("*", True),
        ('"4"', False),
        ("3", False),
        (None, False),
        ("", False),
    ],
)
def test_entity_tags(given_: str | None, same: bool) -> None:
    assert matches_etag(given_, 3) is same


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        (None, None),
        ("Bearer ", None),
    ],
)
def test_bearer(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


def test_an_event_cannot_be_split_by_what_is_in_it() -> None:
    assert encode_event(b"{}", id="7", event="output") == b"id: 7\nevent: output\ndata: {}\n\n"
    for data, id_ in ((b"a\nb", "1"), (b"a\rb", "1"), (b"a", "1\n2")):
        with pytest.raises(ValueError, match="line breaks"):
            encode_event(data, id=id_, event="x")


def test_where_the_socket_is() -> None:
    assert str(socket_path("/home/a/s", "/run/user/7", 7)) == "/run/user/7/shorepower/ae6b0c4b.sock"
    assert socket_path("/home/a/s", None, 7).parent.name == "shorepower-7"
    assert socket_path("/home/a/s", "relative", 7).parent.name == "shorepower-7"
    assert socket_path("/home/a/s", "", 7) == socket_path("/home/a/s", "/x" * 60, 7)
    assert socket_path("/home/a/s", "/run", 7).name != socket_path("/home/b/s", "/run", 7).name


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_socket_path_is_never_too_long(runtime: str) -> None:
    assert len(bytes(socket_path("/s", "/" + runtime, 12345))) <= SOCKET_PATH_LIMIT_BYTES
