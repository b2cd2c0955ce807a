"""Requests for the helper: right ones, and what nobody may get through with."""

import json

from hypothesis import strategies as st

from shorepower.host.helper.request import MOST_BYTES

__all__ = ["ANY_JSON", "BAD_FIELDS", "BAD_SIGNALS", "BAD_TEXTS", "SIGNAL", "SPAWN"]

SPAWN = {
    "v": 1,
    "do": "spawn",
    "uid": 4711,
    "argv": ["/bin/sh", "-c", ":"],
    "env": {},
    "cwd": "/",
    "umask": 0o22,
    "nice": 0,
}
SIGNAL = {
    "v": 1,
    "do": "signal",
    "uid": 4711,
    "pid": 4711,
    "start_time": 1,
    "signal": "SIGTERM",
    "marks": {},
}
BAD_FIELDS = [
    {"argv": []},
    {"argv": "sh"},
    {"argv": ["/bin/sh", "a\0b"]},
    {"argv": ["/bin/sh", "\ud800"]},
    {"argv": ["/bin/sh", 1]},
    {"env": {"A": "\0"}},
    {"env": {"A=B": "1"}},
    {"env": {"": "1"}},
    {"env": []},
    {"cwd": "home"},
    {"cwd": None},
    {"umask": -1},
    {"umask": 0o1000},
    {"umask": True},
    {"nice": -5},
    {"nice": 20},
    {"nice": 1.0},
    {"v": 2},
    {"do": "become root"},
    {"do": ["spawn"]},
    {"uid": -1},
    {"uid": 0},
    {"uid": 2**32 - 1},
    {"uid": 2**32},
    {"uid": True},
    {"uid": "0"},
    {"uid": None},
    {"groups": [0]},
]
BAD_SIGNALS = [
    {"pid": 1},
    {"pid": 0},
    {"pid": -1},
    {"pid": 2**40},
    {"start_time": -1},
    {"signal": "SIGSEGV"},
    {"signal": 9},
    {"marks": {"PATH": "/bin"}},
    {"marks": []},
]
BAD_TEXTS = [
    "\0",
    "{",
    "[]",
    "null",
    "[" * 100_000,
    '{"do": NaN}',
    "1" * 10_000,
    json.dumps(SPAWN)[:-1] + ', "uid": 0}',
    "\ud800",
    json.dumps(SPAWN) + " " * MOST_BYTES,
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)
