"""Places, files and variables that say how this user works."""

from pathlib import Path

import pytest

from shorepower.client import settings as module
from shorepower.client.logins import check_name, forget_login, keep_login, keep_token
from shorepower.client.settings import Login, load_settings, places_of, unknown_variables
from shorepower.config.schema import ENVIRONMENT
from shorepower.model.errors import InvalidRequest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "_ETC", tmp_path / "etc.toml")
    (tmp_path / ".config" / "shorepower").mkdir(parents=True)
    return tmp_path


def write(home: Path, text: str) -> Path:
    file = home / ".config" / "shorepower" / "config.toml"
    file.write_text(text)
    return file


def test_places_follow_the_environment(tmp_path: Path) -> None:
    places = places_of({"HOME": "/h"})
    assert str(places.state_dir) == "/h/.local/state/shorepower"
    assert str(places.config_file) == "/h/.config/shorepower/config.toml"
    assert str(places.cache_dir) == "/h/.cache/shorepower"

    moved = places_of({"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "relative"})
    assert str(moved.state_dir) == "/s/shorepower"
    assert str(moved.config_file) == "/h/.config/shorepower/config.toml"
    assert places_of({"HOME": "/h", "SHORE_STATE_DIR": str(tmp_path)}).state_dir == tmp_path


def test_two_names_of_one_state_directory_are_one_socket(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    sockets = {
        places_of({"HOME": "/h", "SHORE_STATE_DIR": str(tmp_path / name)}).socket
        for name in ("real", "link")
    }

    assert len(sockets) == 1


def test_nearer_places_win_key_by_key(home: Path) -> None:
    (home / "etc.toml").write_text('[run]\non = "etc"\ncpus = 1\nmem = "1G"\ntime = 9\n')
    write(home, '[run]\non = "user"\ncpus = 2\nmem = "2G"\n')
    (home / "shore.toml").write_text('[run]\non = "project"\ncpus = 3\n')

    run = load_settings({"HOME": str(home), "SHORE_ON": "env"}, project=home).run

    assert (run.on, run.cpus, run.mem, run.time) == ("env", 3, "2G", 9)


def test_an_administrator_can_lock_a_key(home: Path) -> None:
    (home / "etc.toml").write_text('lock = ["run.cpus"]\n[run]\ncpus = 1\n')
    write(home, "[run]\ncpus = 64\n")

    assert load_settings({"HOME": str(home), "SHORE_CPUS": "8"}).run.cpus == 1


@pytest.mark.parametrize("key", ["servers", "clusters", "limits", "lock", "server"])
def test_a_project_names_no_servers_and_the_like(home: Path, key: str) -> None:
    (home / "shore.toml").write_text(f'[{key}.x]\nurl = "ssh://evil"\n')

    with pytest.raises(InvalidRequest, match=r"holds run, data, scripts, include, allowed_clusters only"):
        load_settings({"HOME": str(home)}, project=home)


def test_an_unknown_key_names_the_file_and_the_known_ones(home: Path) -> None:
    write(home, "[run]\ncpu = 4\n")

    with pytest.raises(
        InvalidRequest,
        match=r"config.toml: run.cpu: no key 'cpu'; did you mean 'cpus'\? choose one of: cpus, ",
    ):
        load_settings({"HOME": str(home)})


def test_every_fault_of_every_file_at_once(home: Path) -> None:
    write(home, 'lock = ["run.cpus"]\n[run]\ncpu = 4\ncpus = "many"\n[bogus]\n[servers.x]\nurll = "y"\n')
    (home / "shore.toml").write_text('[run]\nfoo = 1\n[servers.x]\nurl = "ssh://evil"\n')

    with pytest.raises(InvalidRequest) as wrong:
        load_settings({"HOME": str(home)}, project=home)

    told = [fault.message for fault in wrong.value.faults]
    user, project = f"{home}/.config/shorepower/config.toml: ", f"{home}/shore.toml: "
    assert f"{user}run.cpus: expected a number or null, got text" in told
    assert f"{user}lock: only /etc/shorepower/config.toml locks keys" in told
    assert f"{user}servers.x.url: is required" in told
    for key in (f"{user}run.cpu: ", f"{user}bogus: ", f"{user}servers.x.urll: ", f"{project}run.foo: "):
        assert [one for one in told if one.startswith(f"{key}no key ")], key
    assert [one for one in told if one.startswith(project) and one.endswith("only, not 'servers'")]
    assert len(told) == 8


def test_broken_toml_names_the_file(home: Path) -> None:
    write(home, "[run\n")

    with pytest.raises(InvalidRequest, match=r"config\.toml is not valid TOML"):
        load_settings({"HOME": str(home)})


def test_scripts_may_be_a_line_or_words(home: Path) -> None:
    write(home, '[scripts]\n".do" = "stata -b do {script}"\n".py" = ["pypy3", "{script}"]\n')

    assert load_settings({"HOME": str(home)}).scripts == {
        ".do": ("stata", "-b", "do", "{script}"),
        ".py": ("pypy3", "{script}"),
    }


def test_data_may_differ_by_cluster(home: Path) -> None:
    write(home, '[data]\n"big" = "/all/big"\n[data.hpc]\n"big" = "/scratch/big"\n')
    settings = load_settings({"HOME": str(home)})

    assert settings.data_for("local") == {"big": "/all/big"}
    assert settings.data_for("hpc") == {"big": "/scratch/big"}


@pytest.mark.parametrize("value", ["0", "no", "false"])
def test_autostart_can_be_switched_off(home: Path, value: str) -> None:
    assert load_settings({"HOME": str(home)}).autostart
    assert not load_settings({"HOME": str(home), "SHORE_AUTOSTART": value}).autostart
    (home / "etc.toml").write_text("[limits]\nautostart = false\n")
    assert not load_settings({"HOME": str(home)}).autostart


def test_logins_keep_the_rest_of_the_file(home: Path) -> None:
    file = write(home, "# mine\n[run]\ncpus = 2 # two\n")
    places = places_of({"HOME": str(home)})

    keep_login(places, "hpc", Login(url="ssh://ada@hpc", default=True))
    keep_login(places, "work", Login(url="https://shore.work", default=True, token_file="/t"))

    text = file.read_text()
    assert text.startswith("# mine\n[run]\ncpus = 2 # two\n")
    servers = load_settings({"HOME": str(home)}).servers
    assert servers["hpc"] == Login(url="ssh://ada@hpc")
    assert servers["work"] == Login(url="https://shore.work", default=True, token_file="/t")

    forget_login(load_settings({"HOME": str(home)}), "hpc")
    forget_login(load_settings({"HOME": str(home)}), "work")

    assert load_settings({"HOME": str(home)}).servers == {}
    assert "# mine" in file.read_text()
    with pytest.raises(InvalidRequest, match="no login 'hpc'"):
        forget_login(load_settings({"HOME": str(home)}), "hpc")


def test_a_token_is_for_nobody_else_and_goes_with_its_login(home: Path) -> None:
    places = places_of({"HOME": str(home)})
    file = keep_token(places, "work", "shp_secret")
    keep_login(places, "work", Login(url="https://x", token_file=str(file)))

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == "shp_secret\n"
    forget_login(load_settings({"HOME": str(home)}), "work")
    assert not file.exists()


@pytest.mark.parametrize("name", ["", "private", "../x", "a b", "-x"])
def test_names_of_logins(name: str) -> None:
    with pytest.raises(InvalidRequest):
        check_name(name)
    assert check_name("hpc.example.org") == "hpc.example.org"


def test_variables_that_nothing_reads_are_told() -> None:
    given = {
        "SHORE_CPU": "4",
        "SHORE_XYZZY": "",
        "SHORE_MEM": "1G",
        "SHOREPOWER_JOB_ID": "a",
        "SHORELINE": "b",
    }

    told = unknown_variables({**given, "SHORE_TOKEN": "t", "SHORE_DEBUG": "1"})

    assert len(told) == 2
    assert told[0].startswith("nothing reads SHORE_CPU; ")
    assert "did you mean 'SHORE_CPUS'?" in told[0]
    assert "SHORE_XYZZY" in told[1]
    assert "SHORE_STATE_DIR" in told[1]


def test_every_variable_of_the_reference_is_known() -> None:
    assert unknown_variables(dict.fromkeys(ENVIRONMENT, "1")) == []
