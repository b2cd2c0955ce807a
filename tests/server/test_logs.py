"""The log is bounded, structured, and holds nothing that users own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from shorepower.server.logs import LogFile, describe, set_up


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def log_file(tmp_path: Path, logging_restored: None) -> Iterator[Path]:
    file = LogFile(tmp_path / "server.log")
    set_up(file)
    yield tmp_path / "server.log"
    file.close()


def test_the_log_is_json_and_holds_no_words_of_users(log_file: Path) -> None:
    def fails() -> None:
        raise FileNotFoundError(2, "No such file", "/home/ada/secret.csv")

    log = structlog.get_logger("x")
    log.info("started", jobs=3)
    try:
        try:
            fails()
        except OSError as error:
            raise ValueError("--password=hunter2") from error
    except ValueError:
        log.exception("failed")
        logging.getLogger("asyncio").exception("Task failed: %r\nfuture: %s", "/home/ada", "hunter2")
        logging.getLogger("uvicorn.error").info("not heard")
    first, second, third = lines(log_file)

    assert first["event"] == "started"
    assert first["level"] == "info"
    assert first["at"].endswith("Z")
    assert (second["error"], second["cause"]) == ("ValueError", "FileNotFoundError")
    assert "fails" in second["cause_where"][-1]
    assert third["logger"] == "asyncio"
    for word in ("ada", "hunter2", "secret.csv"):
        assert word not in log_file.read_text()
    assert log_file.stat().st_mode & 0o777 == 0o600


def test_the_log_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(b"x" * 1000)
    file = LogFile(path, limit_bytes=1000)
    for _ in range(300):
        file.write("y" * 99)
    file.close()
    file.close()

    assert {entry.name for entry in tmp_path.iterdir()} == {"server.log", "server.log.1"}
    assert path.stat().st_size <= 1000
    assert (tmp_path / "server.log.1").stat().st_size <= 1000


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "server.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        LogFile(tmp_path / "server.log")


def test_standard_error_follows_the_log(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(b"x" * 100)
    code = (
        "import sys,os;from pathlib import Path;from shorepower.server.logs import LogFile\n"
        "f=LogFile(Path(sys.argv[1]),limit_bytes=100);os.write(2,b'to stderr\\n');f.write('to the log')"
    )
    with path.open("ab") as stderr:
        subprocess.run([sys.executable, "-c", code, path], stderr=stderr, check=True)

    assert path.read_text() == "to stderr\nto the log\n"
    assert (tmp_path / "server.log.1").read_bytes() == b"x" * 100


def test_a_group_of_faults_is_told_part_by_part() -> None:
    told = describe(ExceptionGroup("g", [ValueError("a"), OSError(5, "b", "/c")]))
    assert [part["error"] for part in told["parts"]] == ["ValueError", "OSError"]
    assert told["parts"][1]["errno"] == 5
    assert "/c" not in str(told)
