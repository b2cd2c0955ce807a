"""Frames survive being split anywhere, and a broken peer cannot fill the memory."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.wire.http.frames import (
    HEADER_LIMIT_BYTES,
    BadFrames,
    FrameReader,
    encode_frame,
    frame_head,
)

headers = st.dictionaries(
    st.text(max_size=10).filter(lambda key: key != "size"),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=30)),
    max_size=4,
)
frames = st.lists(st.tuples(headers, st.binary(max_size=200)), max_size=8)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


@given(frames, st.lists(st.integers(0, 10_000), max_size=30))
def test_whatever_the_pieces_the_same_frames_come_out(sent, places) -> None:
    data = b"".join(encode_frame(header, body) for header, body in sent)
    reader = FrameReader()

    got = [frame for piece in cut(data, places) for frame in reader.feed(piece)]
    reader.finish()

    assert got == [({**header, "size": len(body)}, body) for header, body in sent]


@given(frames.filter(bool), st.integers(1, 10_000))
def test_an_end_in_the_middle_is_told(sent, back) -> None:
    data = b"".join(encode_frame(header, body) for header, body in sent)
    last = encode_frame(*sent[-1])
    reader = FrameReader()
    list(reader.feed(data[: -(back % len(last) or 1)]))

    with pytest.raises(BadFrames, match="in the middle"):
        reader.finish()


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_anything_else_is_refused_in_words_or_waited_for(data, places) -> None:
    reader = FrameReader(body_limit_bytes=100)
    try:
        for piece in cut(data, places):
            for header, body in reader.feed(piece):
                assert header["size"] == len(body) <= 100
    except BadFrames as fault:
        assert str(fault)


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"[1]\n",
        b'{"size":-1}\n',
        b'{"size":true}\n',
        b'{"size":1.5}\n',
        b'{"size":"1"}\n',
        b"{}\n",
        b'{"size":99999999999999999999999}\n',
        b'{"size":0,"a":' + b"[" * 5000 + b"]" * 5000 + b"}\n",
        b"\n",
    ],
)
def test_a_bad_header_is_refused(line: bytes) -> None:
    with pytest.raises(BadFrames):
        list(FrameReader().feed(line))


def test_a_body_over_the_limit_is_refused_before_it_arrives() -> None:
    with pytest.raises(BadFrames, match="at most 10 bytes"):
        list(FrameReader(body_limit_bytes=10).feed(b'{"size":11}\n'))


@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
def test_an_endless_header_is_refused(piece: int) -> None:
    reader = FrameReader()
    fed = 0
    with pytest.raises(BadFrames, match="header"):
        while fed < 4 * HEADER_LIMIT_BYTES:
            list(reader.feed(b"x" * piece))
            fed += piece
    assert fed <= HEADER_LIMIT_BYTES + piece


def test_a_header_at_the_limit_is_read_and_one_over_it_not_written() -> None:
    overhead = len(frame_head({"a": ""}, 0)) - 1
    fits = {"a": "x" * (HEADER_LIMIT_BYTES - overhead)}

    assert next(FrameReader().feed(encode_frame(fits)))[0]["a"] == fits["a"]
    with pytest.raises(BadFrames):
        encode_frame({"a": fits["a"] + "x"})


def test_a_frame_is_a_line_and_bytes() -> None:
    line, _, body = encode_frame({"kind": "output"}, b"a\nb").partition(b"\n")

    assert json.loads(line) == {"kind": "output", "size": 3}
    assert body == b"a\nb"
