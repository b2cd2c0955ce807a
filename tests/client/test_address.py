"""Where a server is, which one is meant, and whether the two work together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.client import link
from shorepower.client.address import Address, parse_address
from shorepower.client.errors import VersionMismatch
from shorepower.client.link import which_server
from shorepower.client.settings import Login, Settings, places_of
from shorepower.client.ssh import remote_words, ssh_address
from shorepower.client.versions import Standing, compare, judge
from shorepower.model.errors import InvalidRequest

PLACES = places_of({"HOME": "/h"})


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://shore.example.org", Address(label="", host="shore.example.org", port=443, tls=True)),
        (
            "https://x:8443/tools/shore/",
            Address(label="", host="x", port=8443, tls=True, base="/tools/shore"),
        ),
        ("http://localhost:8080", Address(label="", host="localhost", port=8080)),
        ("http://[::1]:80", Address(label="", host="::1", port=80)),
        ("ssh://ada@hpc:2222", Address(label="", ssh="ada@hpc", ssh_port=2222)),
        ("ssh://hpc", Address(label="", ssh="hpc")),
        ("unix:///run/x.sock", Address(label="", socket="/run/x.sock")),
    ],
)
def test_addresses_as_people_write_them(text: str, address: Address) -> None:
    from msgspec.structs import replace

    assert parse_address(text) == replace(address, label=text)


@pytest.mark.parametrize(
    "text",
    [
        "", "hpc", "ftp://x", "https://", "http://example.org", "https://u:p@x", "ssh://a:b@x", "ssh://-oProxyCommand=x",
        "ssh://-x@y", "unix://x", "https://x?y=1", "http://x:99999", "https://tok@x",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(text)


@given(st.text())
def test_no_text_makes_the_parser_fail(text: str) -> None:
    try:
        parse_address(text)
    except InvalidRequest:
        pass


def settings(**servers: Login) -> Settings:
    return Settings(places=PLACES, servers=servers)


def test_which_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_is_system_socket", lambda path: False)
    known = settings(hpc=Login(url="ssh://hpc", default=True), work=Login(url="https://work"))
    by_variable = Settings(places=PLACES, servers=known.servers, server="work")

    assert which_server(settings())[0].private
    assert which_server(known)[0].ssh == "hpc"
    assert which_server(by_variable)[0].host == "work"
    assert which_server(by_variable, "hpc")[0].ssh == "hpc"
    assert which_server(by_variable, "private")[0].private
    assert which_server(known, "https://other")[0].host == "other"
    with pytest.raises(InvalidRequest, match="no server 'hpcc'; did you mean 'hpc'"):
        which_server(known, "hpcc")


def test_the_machine_s_server_comes_before_a_private_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_is_system_socket", lambda path: True)

    assert which_server(settings())[0].socket == str(link.SYSTEM_SOCKET)
    assert which_server(settings(), "private")[0].private


def test_ssh_is_given_the_destination_where_nothing_can_be_an_option(tmp_path, monkeypatch) -> None:
    places = places_of({"HOME": "/h", "XDG_RUNTIME_DIR": str(tmp_path)})

    command = ssh_address(parse_address("ssh://ada@hpc:2222"), None, places).command

    assert command[-3:-1] == ("--", "ada@hpc")
    assert command[command.index("-p") : command.index("-p") + 2] == ("-p", "2222")
    assert any(word.startswith("ControlPath=") for word in command)
    assert (tmp_path / "shorepower-ssh").stat().st_mode & 0o777 == 0o700
    assert remote_words(Login(url="", remote_command="/opt/shore"))[0] == "exec /opt/shore connect"


@pytest.mark.parametrize(
    ("theirs", "standing"),
    [
        ("0.1.0", Standing.SAME),
        ("0.1.0.dev3", Standing.SAME),
        ("0.0.9", Standing.OLDER),
        ("0.1.1", Standing.NEWER),
    ],
)
def test_older_and_newer(theirs: str, standing: Standing) -> None:
    assert compare("0.1.0", theirs) is standing


@pytest.mark.parametrize(("ours", "theirs"), [("1.2.0", "1.3.9"), ("1.2.5", "1.1.0"), ("1.2.0", "1.2.9")])
def test_one_minor_version_apart_works(ours: str, theirs: str) -> None:
    judge(ours, theirs, "s")


@pytest.mark.parametrize(
    ("ours", "theirs", "older"), [("1.2.0", "1.4.0", "your shore"), ("2.0.0", "1.9.0", "s")]
)
def test_further_apart_names_both_and_the_remedy(ours: str, theirs: str, older: str) -> None:
    with pytest.raises(VersionMismatch) as caught:
        judge(ours, theirs, "s")

    for part in (ours, theirs, f"Upgrade {older}", "uv tool upgrade"):
        assert part in str(caught.value)
