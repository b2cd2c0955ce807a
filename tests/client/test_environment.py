"""What of the caller's environment reaches a job."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.client.environment import env_file_pairs, gather, passed_here
from shorepower.model.errors import InvalidRequest

PASSED = [
    "PATH", "HOME", "USER", "SHELL", "TERM", "TMPDIR", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV",
    "LC_TIME", "PYTHONPATH", "CONDA_PREFIX", "R_LIBS_USER", "JULIA_DEPOT_PATH", "JAVA_HOME",
    "LD_LIBRARY_PATH", "MODULEPATH", "LOADEDMODULES", "CUDA_VISIBLE_DEVICES", "http_proxy",
    "HTTPS_PROXY", "no_proxy", "SSL_CERT_FILE",
]  # fmt: skip
KEPT_BACK = [
    "AWS_SECRET_ACCESS_KEY",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "PATHX",
    "R",
    "SHOREPOWER_JOB_ID",
    "SHORE_SERVER",
    "_",
]


def test_exactly_what_the_contract_lists() -> None:
    environ = dict.fromkeys([*PASSED, *KEPT_BACK], "x")

    assert set(passed_here(environ)) == set(PASSED)


def test_configuration_adds_but_never_facts() -> None:
    environ = {"MY_A": "1", "MY_B": "2", "OTHER": "3", "SHOREPOWER_JOB_ID": "4"}

    assert passed_here(environ, ["MY_*", "SHOREPOWER_*"]) == {"MY_A": "1", "MY_B": "2"}


def test_elsewhere_nothing_goes_unasked() -> None:
    assert gather({"PATH": "/bin", "A": "1"}, here=False, given=["A", "B=2=3"]).env == {
        "A": "1",
        "B": "2=3",
    }


def test_later_ones_win(tmp_path: Path) -> None:
    file = tmp_path / "e"
    file.write_text("A=file\nB=file\n")

    made = gather({"LANG": "C"}, here=True, files=[file], given=["B=flag", "LANG=de"])

    assert made.env == {"A": "file", "B": "flag", "LANG": "de"}


def test_a_secret_comes_from_the_caller_a_file_or_a_question(tmp_path: Path) -> None:
    file = tmp_path / "s"
    file.write_text("from file\n")

    made = gather(
        {"A": "from env"},
        here=True,
        given=["C=plain"],
        secrets=["A", f"B=@{file}", "C"],
        ask=lambda name: f"asked {name}",
    )

    assert made.secrets == {"A": "from env", "B": "from file", "C": "asked C"}
    assert made.env == {}


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("http://me:pw@proxy:3128", True),
        ("me:pw@proxy", True),
        ("http://proxy:3128", False),
        ("http://me@proxy:3128", False),
    ],
)
def test_a_password_inside_a_proxy_counts_as_a_secret(value: str, secret: bool) -> None:
    made = gather({"https_proxy": value}, here=True)

    assert ("https_proxy" in made.secrets, "https_proxy" in made.env) == (secret, not secret)


def test_every_fault_at_once(tmp_path: Path) -> None:
    bad = tmp_path / "bad.env"
    bad.write_text("OK=1\n1X=2\n")

    with pytest.raises(InvalidRequest) as caught:
        gather(
            {},
            here=True,
            files=[tmp_path / "none", bad],
            given=["2A=1", "UNSET", "SHOREPOWER_X=1"],
            secrets=["S=inline", "T", f"U=@{tmp_path / 'none'}"],
        )

    told = [fault.message for fault in caught.value.faults]
    assert len(told) == 8
    assert any(f"{bad}:2" in text for text in told)
    assert not any("inline" in text for text in told)


def test_lines_of_an_environment_file() -> None:
    text = "# comment\n\n A=1 \nexport B='two words'\nC=\"x=y\"\nD\nE=it's\n"

    assert list(env_file_pairs(text)) == [
        (3, "A=1"),
        (4, "B=two words"),
        (5, "C=x=y"),
        (6, "D"),
        (7, "E=it's"),
    ]


@given(st.text())
def test_no_environment_file_makes_the_reader_fail(text: str) -> None:
    for number, pair in env_file_pairs(text):
        assert number > 0
        assert not pair.startswith("#")
