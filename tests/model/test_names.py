"""Names can do nothing to a screen, and each byte of them can be told."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.names import quoted, shown, storable


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("plain.txt", "plain.txt"),
        ("ümlaut 文字", "ümlaut 文字"),
        (b"\xff.txt", "\\xff.txt"),
        (os.fsdecode(b"a\xe4b"), "a\\xe4b"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("turn\u202ened", "turn\\u202ened"),
        ("alone\ud800", "alone\\ud800"),
    ],
)
def test_what_is_seen_of_a_name(name: str | bytes, seen: str) -> None:
    assert shown(name) == seen
    assert quoted(name) == f"'{seen}'"


@given(st.binary())
def test_any_name_can_be_shown(name: bytes) -> None:
    seen = shown(name)
    assert seen.isprintable() or not seen
    seen.encode()


def test_what_is_stored_keeps_its_lines() -> None:
    assert storable("one\ntwo") == "one\ntwo"
    assert storable(os.fsdecode(b"one\n\xff")) == "one\n\\xff"
