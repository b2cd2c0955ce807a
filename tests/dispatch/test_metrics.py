"""What is taken from the file that a task writes its metrics into."""

import os
from pathlib import Path

import pytest

from shorepower.dispatch.metrics import METRICS_BYTES, read_metrics


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


def test_the_last_value_of_each_name_counts(file: Path) -> None:
    file.write_text(
        '{"loss": 0.5, "epoch": 1}\n{"loss": 0.25, "epoch": 2, "best": true}\n{"note": "done"}\n'
    )

    assert read_metrics(file) == {"loss": 0.25, "epoch": 2, "best": True, "note": "done"}


@pytest.mark.parametrize(
    "line",
    [
        b"loss 0.5",
        b"[1, 2]",
        b"7",
        b"\xff\xfe",
        b"{" * 5000,
        b'{"loss": ' + b"[" * 5000,
        b'{"deep": {"loss": 1}, "many": [1]}',
        b'{"big": 1' + b"0" * 400 + b"}",
        b'{"long": "' + b"x" * 2000 + b'"}',
        b'{"cut": 0.',
    ],
)
def test_nonsense_is_passed_over(file: Path, line: bytes) -> None:
    file.write_bytes(b'{"loss": 1}\n' + line + b'\n\n{"auc": 0.9}\n')

    assert read_metrics(file) == {"loss": 1, "auc": 0.9}


def test_a_number_that_is_none_is_told_as_none_and_not_as_the_one_before(file: Path) -> None:
    file.write_text('{"loss": 0.5}\n{"loss": NaN, "auc": 0.9, "norm": -Infinity}\n')

    assert read_metrics(file) == {"loss": None, "auc": 0.9, "norm": None}


def test_only_the_end_of_a_long_file_is_read_from_the_beginning_of_a_line(file: Path) -> None:
    line = b'{"first": 1}\n'
    file.write_bytes(line + b'{"loss": 11111}\n' * 10_000 + b'{"last": 2}\n')

    assert file.stat().st_size > METRICS_BYTES
    assert read_metrics(file) == {"loss": 11111, "last": 2}


def test_names_are_bounded(file: Path) -> None:
    file.write_text("".join(f'{{"n{number}": {number}}}\n' for number in range(1000)) + '{"n0": -1}\n')

    found = read_metrics(file)
    assert len(found) == 200
    assert found["n0"] == -1


def test_what_is_no_file_says_nothing(file: Path, tmp_path: Path) -> None:
    assert read_metrics(file) == {}
    os.mkfifo(file)
    assert read_metrics(file) == {}
    file.unlink()
    (tmp_path / "other").write_text('{"loss": 1}\n')
    file.symlink_to(tmp_path / "other")
    assert read_metrics(file) == {}
    file.unlink()
    file.mkdir()
    assert read_metrics(file) == {}
