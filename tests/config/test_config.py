"""Files, environment and flags become settings, and every mistake is named at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shorepower.client.settings import places_of
from shorepower.config.convert import client_settings, dispatch_settings, local_limits, serve_settings
from shorepower.config.find import Config, load
from shorepower.config.write import remove_value, set_value
from shorepower.model.errors import Fault, InvalidRequest, StorageFault
from shorepower.server.settings import Listen


class Home:
    """A user with files."""

    def __init__(self, root: Path) -> None:
        self.environ = {"HOME": str(root / "home")}
        self.system = root / "etc.toml"
        self.user = root / "home" / ".config" / "shorepower" / "config.toml"
        self.project = root / "project"
        self.user.parent.mkdir(parents=True)
        self.project.mkdir()
        self.shore = self.project / "shore.toml"

    def load(self, flags: dict[str, Any] | None = None, **environ: str) -> Config:
        return load(
            self.environ | environ, project=self.project, flags=flags or {}, system_file=self.system
        )

    def faults(self, flags: dict[str, Any] | None = None, **environ: str) -> tuple[Fault, ...]:
        with pytest.raises(InvalidRequest) as caught:
            self.load(flags, **environ)
        return caught.value.faults


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_any_file_everything_has_its_default(home: Home) -> None:
    config = home.load()

    assert config.document.run.on is None
    assert config.document.limits.autostart
    assert (config.origins, config.notes) == ({}, ())
    assert serve_settings(config).listen is None
    assert serve_settings(config).idle_stop_s == 900
    assert dispatch_settings(config).budget_bytes is None


def test_the_stronger_one_wins_key_by_key_and_is_named(home: Home) -> None:
    home.system.write_text('[run]\ncpus = 1\nmem = "1G"\nqueue = "a"\ntime = "1h"\non = "local"')
    home.user.write_text('[run]\nmem = "2G"\nqueue = "b"\ntime = "2h"\non = "local"')
    home.shore.write_text('[run]\nqueue = "c"\ntime = "3h"\non = "local"')
    config = home.load({"run.on": "hpc"}, SHORE_TIME="4h", SHORE_ON="local")
    run = config.document.run

    assert (run.cpus, run.mem, run.queue, run.time, run.on) == (1, "2G", "c", "4h", "hpc")
    assert config.origins == {
        "run.cpus": str(home.system),
        "run.mem": str(home.user),
        "run.queue": str(home.shore),
        "run.time": "SHORE_TIME",
        "run.on": "a flag",
    }


def test_tables_are_merged_and_lists_replaced(home: Home) -> None:
    home.user.write_text(
        'include = ["a"]\n[scripts]\n".jl" = "julia"\n[servers.hpc]\nurl = "ssh://hpc"\n'
        '[data]\n"a.b" = "/x"\n[data.hpc]\n"c" = "/y"'
    )
    home.shore.write_text('include = ["b", "c"]\n[scripts]\n".py" = ["python3", "-u"]\n[data]\nd = "/z"')
    config = home.load(SHORE_SERVER="hpc")
    settings = client_settings(config, places_of(home.environ), {"SHORE_SERVER": "hpc"})

    assert settings.include == ("b", "c")
    assert settings.scripts == {".jl": ("julia",), ".py": ("python3", "-u")}
    assert settings.data_for("hpc") == {"a.b": "/x", "c": "/y", "d": "/z"}
    assert settings.data_for("local") == {"a.b": "/x", "d": "/z"}
    assert settings.servers["hpc"].url == "ssh://hpc"
    assert settings.server == "hpc"


def test_every_fault_of_every_file_is_named_at_once(home: Home) -> None:
    home.system.write_text('[run]\ncpu = 2\nmem = "lots"\nlock = 3')
    home.user.write_text('[run]\ncpus = "four"\non_interrupt = "panic"\n[servers.x]\n[limts]\n')
    home.shore.write_text('[servers.evil]\nurl = "ssh://evil"\n[run]\ntime = "soon"\n[runn]\n')
    faults = home.faults(SHORE_GPUS="x:y", SHORE_AUTOSTART="perhaps")

    assert {fault.field for fault in faults} == {
        "run.cpu",
        "run.mem",
        "run.lock",
        "run.cpus",
        "run.on_interrupt",
        "servers.x.url",
        "limts",
        "servers",
        "run.time",
        "runn",
        "run.gpus",
        "limits.autostart",
    }
    told = {fault.field: fault.message for fault in faults}
    assert told["run.cpu"].startswith(f"{home.system}: run.cpu: no key 'cpu'; did you mean 'cpus'?")
    assert "did you mean 'limits'?" in told["limts"]
    assert told["servers"] == (
        f"{home.shore}: servers: a project's file holds run, data, scripts, include, allowed_clusters only"
    )
    assert "choose one of: allowed_clusters, data, include, run, scripts" in told["runn"]
    assert told["run.gpus"].startswith("SHORE_GPUS: ")
    assert "ask, leave, stop" in told["run.on_interrupt"]


@pytest.mark.parametrize("text", ["[run", "a = ", b"\xff\xfe", "x = 1\nx = 2"])
def test_what_is_no_toml_is_told_with_its_file(home: Home, text: str | bytes) -> None:
    home.user.write_bytes(text if isinstance(text, bytes) else text.encode())
    (fault,) = home.faults()

    assert str(home.user) in fault.message


def test_a_file_that_cannot_be_read_is_not_taken_for_missing(home: Home) -> None:
    home.user.mkdir()
    (fault,) = home.faults()
    assert "cannot be read" in fault.message


@pytest.mark.parametrize(
    "text",
    [
        "[clusters.local]\ncpus = 2",
        '[clusters.hpc]\ntype = "pbs"',
        '[clusters.other]\ntype = "local"',
        '[server]\nlisten = "8080"',
        "[limits]\nkeep_results_days = -1",
        '[limits]\ndisk = "big"',
        "run = 3",
        'lock = ["run.cpus"]',
    ],
)
def test_values_that_make_no_sense(home: Home, text: str) -> None:
    home.user.write_text(text)
    assert len(home.faults()) == 1


def test_what_an_administrator_locks_stays(home: Home) -> None:
    home.system.write_text(
        'lock = ["run.cpus", "limits.autostart", "run.mem"]\n[run]\ncpus = 2\nmem = "1G"'
    )
    home.user.write_text('[run]\ncpus = 64\nmem = "1G"\nqueue = "q"')
    home.shore.write_text("[run]\ncpus = 128")
    config = home.load(SHORE_CPUS="256", SHORE_AUTOSTART="no")
    run = config.document.run

    assert (run.cpus, run.queue, config.document.limits.autostart) == (2, "q", True)
    assert config.document.lock == ("run.cpus", "limits.autostart", "run.mem")
    assert len(config.notes) == 4
    assert config.notes[0] == f"{home.user} sets run.cpus, which {home.system} has locked"
    (fault,) = home.faults({"run.cpus": 4})
    assert fault.message == f"run.cpus is 2 by {home.system} and cannot be changed"


def test_a_lock_on_nothing_is_a_fault(home: Home) -> None:
    home.system.write_text('lock = ["run.cpu"]')
    (fault,) = home.faults()
    assert "did you mean 'run.cpus'?" in fault.message


def test_the_environment_is_spelt_as_people_do(home: Home) -> None:
    config = home.load(
        SHORE_PASS_ENV="A,B C",
        SHORE_CPUS="0.5",
        SHORE_AUTOSTART="no",
        SHORE_SEND_IGNORED="yes",
        SHORE_MEM="",
        SHORE_STATE_DIR="/x",
        SHORE_CPU="1",
        SHOREPOWER_JOB_ID="abc",
    )
    run = config.document.run

    assert (run.pass_env, run.cpus, run.send_ignored, run.mem) == (("A", "B", "C"), 0.5, True, None)
    assert not config.document.limits.autostart
    assert len(config.notes) == 1
    assert "did you mean 'SHORE_CPUS'?" in config.notes[0]


def test_settings_of_the_rooms(home: Home) -> None:
    home.user.write_text(
        '[server]\nlisten = "127.0.0.1:8080"\nhosts = ["a.example"]\nidle_minutes = 0\n'
        'base_path = "/shore"\n'
        '[limits]\ndisk = "2G"\nkeep_results_days = 1\n'
        '[clusters.local]\ntype = "local"\ncpus = 2\nmem = "4G"'
    )
    config = home.load()
    serve, dispatch = serve_settings(config), dispatch_settings(config)

    assert serve.listen == Listen(host="127.0.0.1", port=8080)
    assert (serve.hosts, serve.idle_stop_s, serve.base_path) == (("a.example",), 0, "/shore")
    assert (dispatch.budget_bytes, dispatch.results_keep_s) == (2 << 30, 86400)
    assert local_limits(config) == (2.0, 4096)
    assert local_limits(home.load()) == (2.0, 4096)


def test_a_port_for_everybody_needs_tls(home: Home) -> None:
    home.user.write_text('[server]\nlisten = "0.0.0.0:80"\ntls_cert = "/c"')
    with pytest.raises(InvalidRequest) as caught:
        serve_settings(home.load())
    assert len(caught.value.faults) == 1
    home.user.write_text('[server]\nlisten = "0.0.0.0:80"\n')
    with pytest.raises(InvalidRequest, match="plain http is for this machine only"):
        serve_settings(home.load())


# writing

COMMENTED = """\
# mine
include = ["a"] # why not

[run]
cpus = 2 # two
# nothing here

[servers.hpc] # the big one
url = "ssh://hpc"
"""


def test_a_change_keeps_everything_else(home: Home) -> None:
    home.user.write_text(COMMENTED)
    home.user.chmod(0o640)
    set_value(home.user, ("run", "mem"), "2G")
    set_value(home.user, ("run", "cpus"), 4)
    set_value(home.user, ("servers", "my.lab"), {"url": "https://x.example"})
    text = home.user.read_text()

    for line in (
        "# mine",
        'include = ["a"] # why not',
        "# nothing here",
        "[servers.hpc] # the big one",
        "# two",
    ):
        assert line in text
    config = home.load()
    assert (config.document.run.mem, config.document.run.cpus) == ("2G", 4)
    assert set(config.document.servers) == {"hpc", "my.lab"}
    assert home.user.stat().st_mode & 0o777 == 0o640
    assert list(home.user.parent.iterdir()) == [home.user]


def test_what_was_set_can_be_taken_away_without_a_trace(home: Home) -> None:
    home.user.write_text(COMMENTED)
    set_value(home.user, ("limits", "autostart"), False)
    assert remove_value(home.user, ("limits", "autostart"))
    assert not remove_value(home.user, ("limits", "autostart"))
    assert not remove_value(home.user, ("include", "x"))
    assert "limits" not in home.user.read_text()
    assert remove_value(home.user, ("servers", "hpc", "url"))
    assert "servers" not in home.user.read_text()
    assert "# two" in home.user.read_text()


def test_a_file_is_made_for_the_user_alone_and_a_projects_for_all(home: Home) -> None:
    home.user.parent.rmdir()
    set_value(home.user, ("servers", "hpc", "url"), "ssh://hpc")
    set_value(home.shore, ("run", "send_ignored"), True, project=True)

    assert home.user.stat().st_mode & 0o777 == 0o600
    assert home.user.parent.stat().st_mode & 0o777 == 0o700
    assert home.shore.stat().st_mode & 0o777 == 0o644 & ~_umask()
    assert home.load().document.run.send_ignored is True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("key", "value", "project"),
    [
        (("run", "cpu"), 1, False),
        (("run", "mem"), "lots", False),
        (("servers", "x", "url"), "ssh://x", True),
        (("include", "x"), 1, False),
    ],
)
def test_a_change_that_would_be_wrong_changes_nothing(
    home: Home, key: tuple, value: Any, project: bool
) -> None:
    home.user.write_text(COMMENTED)
    with pytest.raises(InvalidRequest):
        set_value(home.user, key, value, project=project)
    assert home.user.read_text() == COMMENTED


def test_a_file_that_is_wrong_already_is_not_touched(home: Home) -> None:
    home.user.write_text("[run")
    with pytest.raises(InvalidRequest, match="nothing was changed"):
        set_value(home.user, ("run", "cpus"), 1)
    assert home.user.read_text() == "[run"


def test_a_link_stays_a_link(home: Home) -> None:
    real = home.project / "dotfiles.toml"
    real.write_text(COMMENTED)
    home.user.symlink_to(real)
    set_value(home.user, ("run", "cpus"), 8)

    assert home.user.is_symlink()
    assert "cpus = 8" in real.read_text()


def test_a_disk_that_refuses_leaves_the_old_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.user.write_text(COMMENTED)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFault, match="No space left"):
        set_value(home.user, ("run", "cpus"), 8)
    assert home.user.read_text() == COMMENTED
    assert list(home.user.parent.iterdir()) == [home.user]
