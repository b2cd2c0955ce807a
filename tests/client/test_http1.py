"""HTTP/1.1 without I/O: answers in any pieces, what ends a body, what is refused."""

import pytest

from shorepower.client.http1 import HEAD_LIMIT_BYTES, AnswerReader, Garbled, head_of
from shorepower.model.errors import InvalidRequest

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello"
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX-Late: 1\r\n\r\n"
)


def read(*pieces: bytes) -> AnswerReader:
    reader = AnswerReader()
    for piece in pieces:
        reader.feed(piece)
    return reader


@pytest.mark.parametrize("answer", [LENGTH, CHUNKS])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_an_answer_is_the_same_in_pieces_of_any_size(answer: bytes, size: int) -> None:
    reader = read(*(answer[at : at + size] for at in range(0, len(answer), size)))

    assert (reader.status, reader.begun, reader.ended, reader.reusable) == (200, True, True, True)
    assert reader.take() == b"hello"
    assert reader.take() == b""
    assert reader.missing() == ""
    assert "x-late" not in reader.headers


def test_names_are_in_lower_case_and_repeated_headers_are_joined() -> None:
    assert read(LENGTH).headers == {"content-length": "5", "x-a": "1, 2"}


def test_a_body_is_there_as_far_as_it_has_come() -> None:
    reader = read(LENGTH[:-3])

    assert (reader.begun, reader.ended, reader.take()) == (True, False, b"he")
    reader.feed(LENGTH[-3:])
    assert (reader.ended, reader.take()) == (True, b"llo")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified\r\nContent-Length: 7"])
def test_some_answers_have_no_body(status: bytes) -> None:
    reader = read(b"HTTP/1.1 " + status + b"\r\n\r\n")

    assert (reader.ended, reader.reusable, reader.take()) == (True, True, b"")


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n"]
)
def test_an_answer_that_announces_another_is_passed_over(first: bytes) -> None:
    reader = read(first, LENGTH)

    assert (reader.status, reader.ended, reader.take()) == (200, True, b"hello")
    assert "link" not in reader.headers


@pytest.mark.parametrize(
    "head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"]
)
def test_a_body_without_a_length_ends_with_its_connection(head: bytes) -> None:
    reader = read(head + b"hello")

    assert (reader.ended, reader.take(), reader.missing()) == (False, b"hello", "")
    assert not reader.reusable


def test_a_connection_that_is_to_be_closed_is_not_reusable() -> None:
    reader = read(LENGTH.replace(b"X-A: 1", b"Connection: close"))

    assert (reader.ended, reader.reusable) == (True, False)


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (b"", "the connection was closed"),
        (LENGTH[:30], "the connection was closed"),
        (LENGTH[:-2], "2 bytes of the answer are missing"),
        (CHUNKS[:-2], "the end of the answer is missing"),
    ],
)
def test_what_is_missing_at_the_end_is_said(cut: bytes, words: str) -> None:
    reader = AnswerReader()
    if cut:
        reader.feed(cut)

    assert reader.missing() == words


@pytest.mark.parametrize("more", [LENGTH, b"garbage"])
@pytest.mark.parametrize("together", [True, False])
def test_more_than_was_asked_for_costs_the_connection_only(more: bytes, together: bool) -> None:
    reader = read(LENGTH + more) if together else read(LENGTH, more)

    assert (reader.ended, reader.reusable, reader.take()) == (True, False, b"hello")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * HEAD_LIMIT_BYTES,
    ],
)
def test_what_is_no_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(Garbled, match="what came back"):
        read(*(answer[at : at + 4096] for at in range(0, len(answer), 4096)))


def test_a_request_begins_with_its_line_and_headers() -> None:
    head = head_of("POST", "/v1/jobs?a=%20b", {"Host": "h", "Content-Length": "3"})

    assert head == b"POST /v1/jobs?a=%20b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\u00e9", "/a\x00"])
def test_a_target_stays_in_its_line(target: str) -> None:
    with pytest.raises(InvalidRequest, match="cannot be asked for"):
        head_of("GET", target, {})


@pytest.mark.parametrize("value", ["shp_x\r\nX: y", "shp_x\n", "shp_\u00e9"])
def test_a_value_stays_in_its_line_and_is_not_told(value: str) -> None:
    with pytest.raises(InvalidRequest, match="the value of Authorization has characters") as caught:
        head_of("GET", "/", {"Authorization": value})

    assert "shp_" not in str(caught.value)
