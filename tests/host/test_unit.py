"""The helper's unit, as systemd reads it."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from shorepower.host.helper.config import configured
from support.people import CONFINED

UNIT = Path(__file__).parents[2] / "deploy" / "shorepower-helper.service"
MOST_EXPOSED = 72
"""Of 100. Jobs inherit what is closed: see the unit on what they need."""
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None or not Path("/usr/bin/python3").exists(),
    reason="needs systemd-analyze (Debian package systemd) and the system's Python",
)


def analyze(*argv):
    done = subprocess.run(["systemd-analyze", *argv, UNIT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_systemd_finds_nothing_wrong_with_it():
    assert analyze("verify", "--man=no") == ""


def test_it_keeps_no_more_of_root_than_it_is_tested_with_here():
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if line[:1].isalpha())
    kept = {word.removeprefix("CAP_").lower() for word in settings["CapabilityBoundingSet"].split()}
    assert kept == {word.removeprefix("+") for word in CONFINED[1].split(",")[1:]}
    assert settings["KillMode"] == "process"  # jobs outlive it


def test_it_is_as_closed_as_jobs_allow():
    analyze("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}")


def test_the_example_of_a_configuration_shows_what_holds_without_it(monkeypatch):
    monkeypatch.setattr("shorepower.host.helper.config.uid_of", lambda _: 998)
    text = (UNIT.parent / "helper.toml").read_text()
    told = configured(tomllib.loads(text))
    lines = [line.removeprefix("# ") for line in text.splitlines()]
    shown = "\n".join(line for line in lines if " = " in line and line.split(" = ")[0].isidentifier())
    assert configured(tomllib.loads(shown)) == told
    assert set(tomllib.loads(shown)) | {"commands", "limits", "file_program"} == set(told._fields) - {
        "server_uid"
    } | {"server_user"}
