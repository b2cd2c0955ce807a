"""Following output over cuts: every byte once, in order."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.client import stream, transport
from shorepower.client.address import Address
from shorepower.client.stream import OutputReader, piece_of
from shorepower.client.transport import Transport
from shorepower.model.errors import Unreachable
from shorepower.model.output import OutputPiece, Stream
from shorepower.wire.http.frames import encode_frame
from support.scripted_server import Answer, ScriptedServer, reply, torn

TEXT = b"".join(b"line %d\n" % number for number in range(50))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(transport, "FIRST_PAUSE_S", 0.01)


def output(offset: int, data: bytes) -> bytes:
    head = {"kind": "output", "stream": "stdout", "task": 0, "attempt": 1, "offset": offset}
    return encode_frame({**head, "cursor": f"c{offset + len(data)}"}, data)


def end(offset: int) -> bytes:
    return encode_frame({"kind": "end", "cursor": f"c{offset}"})


def frames(*parts: bytes, cut: int = 0) -> Answer:
    """An answer of frames, or one that is cut so many bytes before its end."""
    whole = b"".join(parts)
    return torn(whole[:-cut], promise=len(whole)) if cut else reply(raw=whole)


def reading(server: ScriptedServer, **options: object) -> OutputReader:
    address = Address(label="s", host="127.0.0.1", port=server.port)
    return OutputReader(Transport(address, version="0.1.0", environ={}), "job", **options)


def test_a_cut_within_a_frame_loses_and_repeats_nothing() -> None:
    whole = [output(0, TEXT[:100]), output(100, TEXT[100:])]
    script = [frames(*whole, cut=7), frames(output(100, TEXT[100:]), end(len(TEXT)))]
    with ScriptedServer(*script) as server:
        pieces = list(reading(server))

    assert b"".join(piece.data for piece in pieces) == TEXT
    assert pieces[-1].kind == "end"
    assert "cursor=" not in server.seen[0].path
    assert "cursor=c100" in server.seen[1].path


@given(
    cuts=st.lists(st.integers(1, 400), max_size=4),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=9),
)
def test_wherever_it_is_cut_every_byte_comes_once(cuts: list[int], sizes: list[int]) -> None:
    def from_cursor(cut: int) -> Answer:
        def answer(sock: object, seen: object) -> bool | None:
            start = int(seen.path.partition("cursor=c")[2].partition("&")[0] or 0)
            parts, place = [], start
            while place < len(TEXT):
                size = sizes[len(parts) % len(sizes)]
                parts.append(output(place, TEXT[place : place + size]))
                place += size
            whole = b"".join([*parts, end(len(TEXT))])
            return frames(whole, cut=min(cut, len(whole) - 1))(sock, seen)

        return answer

    with ScriptedServer(*[from_cursor(cut) for cut in cuts], from_cursor(0)) as server:
        pieces = list(reading(server))

    assert b"".join(piece.data for piece in pieces) == TEXT


def test_without_following_it_reads_what_is_there_in_several_goes() -> None:
    more = encode_frame({"kind": "more", "cursor": "c8"})
    script = [frames(output(0, b"12345678"), more), frames(output(8, b"9"), more), frames(more)]
    with ScriptedServer(*script) as server:
        pieces = list(reading(server, follow=False))

    assert [piece.data for piece in pieces] == [b"12345678", b"9"]
    assert all("follow" not in seen.path for seen in server.seen)


def test_a_tail_is_asked_for_once() -> None:
    script = [frames(output(90, b"x"), output(91, b"y"), cut=3), frames(output(91, b"y"), end(92))]
    with ScriptedServer(*script) as server:
        assert len(list(reading(server, tail_bytes=2))) == 3

    assert "tail=2" in server.seen[0].path
    assert "tail" not in server.seen[1].path


def test_a_stream_that_says_nothing_becomes_a_long_poll() -> None:
    with ScriptedServer(frames(), frames(output(0, b"x"), end(1))) as server:
        assert b"".join(piece.data for piece in reading(server)) == b"x"

    assert "follow=1" in server.seen[0].path
    assert "follow" not in server.seen[1].path
    assert "wait=" in server.seen[1].path


def test_a_gap_is_handed_on() -> None:
    gap = encode_frame({"kind": "gap", "stream": "stderr", "offset": 0, "missing_bytes": 9, "cursor": "c9"})
    with ScriptedServer(frames(gap, end(9))) as server:
        first, _ = reading(server)

    assert first == OutputPiece(kind="gap", stream=Stream.STDERR, missing_bytes=9, cursor="c9")


def test_it_can_be_ended_from_outside() -> None:
    with ScriptedServer(frames(output(0, b"x"), end(1))) as server:
        reader = reading(server)
        pieces: Iterator[OutputPiece] = iter(reader)
        assert next(pieces).data == b"x"
        reader.abort()

        assert [piece.kind for piece in pieces] in ([], ["end"])


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FOLLOW_PATIENCE_S", 0.2)
    monkeypatch.setattr(transport, "PATIENCE_S", 0.1)
    with ScriptedServer() as server, pytest.raises(Unreachable):
        list(reading(server))


@pytest.mark.parametrize("kind", ["alive", "later-word", None])
def test_signs_of_life_and_kinds_of_later_versions_are_no_pieces(kind: str | None) -> None:
    assert piece_of({"kind": kind}, b"") is None
