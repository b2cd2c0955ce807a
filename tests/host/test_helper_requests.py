"""What the helper may be asked, and what root may decide: pure, fuzzed."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.host.helper.child import account
from shorepower.host.helper.config import Config, configured
from shorepower.host.helper.request import No, decode
from support.helper_requests import ANY_JSON, BAD_FIELDS, BAD_SIGNALS, SIGNAL, SPAWN
from support.people import HELPER


@pytest.mark.parametrize("field", BAD_FIELDS, ids=repr)
def test_a_field_that_cannot_be_is_refused(field):
    with pytest.raises(No):
        decode(json.dumps({**SPAWN, **field}).encode())


@pytest.mark.parametrize("field", BAD_SIGNALS, ids=repr)
def test_a_signal_that_cannot_be_is_refused(field):
    with pytest.raises(No):
        decode(json.dumps({**SIGNAL, **field}).encode())


def test_every_fault_is_told_at_once():
    with pytest.raises(No) as told:
        decode(json.dumps({**SPAWN, "nice": -1, "cwd": "x", "shell": "/bin/bash"}).encode())
    assert told.value.told["why"] == "no field 'shell' in spawn; cwd cannot be that; nice cannot be that"


@given(st.binary(max_size=300) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_request_or_refused(data):
    try:
        assert decode(data)["do"]
    except No as no:
        assert no.told["kind"] == "request"


@given(st.sampled_from(sorted(SPAWN)), ANY_JSON)
def test_any_value_of_a_field_is_fit_or_refused(name, value):
    try:
        told = decode(json.dumps({**SPAWN, name: value}).encode())
    except No:
        return
    assert 0 < told["uid"] < 2**32 - 1
    assert type(told["nice"]) is int and told["nice"] >= 0
    assert all(b"\0" not in os.fsencode(word) for word in told["argv"])


def test_the_configuration_tells_every_fault_with_the_keys_there_are():
    with pytest.raises(ValueError, match="minimum") as told:
        configured(
            {"server_user": "root", "minimum_uid": 0, "minimun_uid": 3, "commands": {"sinfo": "sinfo"}}
        )
    said = str(told.value)
    for part in (
        "server_user = 'root'",
        "minimum_uid = 0",
        "unknown key 'minimun_uid'; known:",
        "commands =",
    ):
        assert part in said
    with pytest.raises(ValueError, match="server_user is missing"):
        configured({})


def test_a_denied_user_is_denied_under_any_name(monkeypatch):
    ada = SimpleNamespace(pw_name="ada", pw_uid=4711, pw_gid=4711, pw_dir="/")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: ada)
    monkeypatch.setattr("pwd.getpwnam", lambda name: ada)
    monkeypatch.setattr("os.getgrouplist", lambda name, gid: [gid])
    assert account(4711, Config(server_uid=998)).name == "ada"
    with pytest.raises(No, match="denied"):
        account(4711, Config(server_uid=998, denied_users=("ada_too",)))
    monkeypatch.setattr("os.getgrouplist", lambda name, gid: [gid, 0])
    with pytest.raises(No, match="root's group"):
        account(4711, Config(server_uid=998))


def test_it_imports_nothing_but_the_standard_library():
    code = (
        f"import sys; sys.argv = ['helper']; sys.path.append({str(HELPER.parent)!r})\n"
        "import helper.loop\n"
        "print(*(m for m in sys.modules if m.split('.')[0] not in sys.stdlib_module_names))"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert {name for name in told.stdout.split() if not name.startswith("helper")} <= {"__main__"}
