from datetime import UTC, datetime

import pytest

from shorepower.clusters.records import (
    Launch,
    Note,
    UnknownRecord,
    is_reserved,
    parse_exit,
    parse_fence,
    parse_note,
    write_note,
    write_refusal,
)
from shorepower.model.lifecycle import Reason

AT = datetime(2026, 3, 4, 5, 6, 7, 120_000, tzinfo=UTC)

FENCE = (
    b"v=1 submission=abc-1 part=0.0 pid=12 start=34 boot=b-o-o-t"
    b" at_cs=177260076712 up_cs=99 native=- gpus=0,1 end\n"
)
EXIT = (
    b"v=1 pid=12 start=34 code=7 launch=- began_cs=177260076712 at_cs=177260076812 up_cs=199 end\n      \n"
)


def test_a_fence_is_read():
    fence = parse_fence(FENCE)
    assert (fence.submission, fence.pid, fence.start_time, fence.boot) == ("abc-1", 12, 34, "b-o-o-t")
    assert (fence.at, fence.up_cs, fence.gpus, fence.forbidden) == (AT, 99, ("0", "1"), None)


def test_an_exit_record_is_read_and_padding_is_not():
    seen = parse_exit(EXIT)
    assert (seen.pid, seen.start_time, seen.code, seen.launch) == (12, 34, 7, Launch.NOTHING)
    assert (seen.at - seen.began_at).total_seconds() == 1


@pytest.mark.parametrize(("data", "parse"), [(FENCE, parse_fence), (EXIT.rstrip() + b"\n", parse_exit)])
def test_cut_short_is_absent(data, parse):
    assert parse(data) is not None
    for length in range(len(data)):
        assert parse(data[:length]) is None


def test_reserved_room_is_no_exit_record():
    reserved = b"v=1 reserved" + b" " * 180 + b"\n"
    assert parse_exit(reserved) is None
    assert is_reserved(reserved)
    assert not is_reserved(reserved[:100])
    assert not is_reserved(b"")
    half = EXIT[:50] + reserved[50:]
    assert parse_exit(half) is None


def test_what_is_written_is_read():
    note = Note(cause=Reason.TIME_LIMIT, at=AT, up_cs=5)
    assert parse_note(write_note(note)) == note
    refusal = parse_fence(write_refusal("abc-1", 0, 0, Reason.STOPPED, AT))
    assert (refusal.forbidden, refusal.at, refusal.submission) == (Reason.STOPPED, AT, "abc-1")


@pytest.mark.parametrize(
    ("data", "parse"),
    [
        (FENCE.replace(b"v=1", b"v=9"), parse_fence),
        (FENCE.replace(b"pid=12", b"pid=x"), parse_fence),
        (EXIT.replace(b"launch=-", b"launch=sideways"), parse_exit),
        (EXIT.replace(b"code=7 ", b""), parse_exit),
        (b"\xff\xfe end\n", parse_exit),
        (b"v=1 cause=BORED at_cs=1 up_cs=1 end\n", parse_note),
    ],
)
def test_foreign_words_are_an_error_and_no_default(data, parse):
    with pytest.raises(UnknownRecord):
        parse(data)
