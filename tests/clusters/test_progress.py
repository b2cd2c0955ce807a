import os
from datetime import UTC, datetime

import pytest

from shorepower.clusters.local.progress import ProgressFile, parse_progress

AT = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "fraction", "text"),
    [
        (b"0.42 fold 3 of 7", 0.42, "fold 3 of 7"),
        (b"1", 1.0, ""),
        (b".5\tx", 0.5, "x"),
        (b"7 of 9", 1.0, "of 9"),
        (b"-1 x", 0.0, "x"),
        (b"warming up", None, "warming up"),
        (b"0.5x", None, "0.5x"),
        (b"\xff\xfe", None, "\ufffd\ufffd"),
        (b'{"fraction": 0.25, "text": "x", "more": []}', 0.25, "x"),
        (b'{"fraction": "half", "text": 3}', None, "3"),
        (b'{"fraction": true}', None, ""),
        (b'{"fraction": 1e999}', None, '{"fraction": 1e999}'),
        (b'{"text": "not whole', None, '{"text": "not whole'),
        (b"x" * 5000, None, "x" * 500),
    ],
)
def test_lines(line, fraction, text):
    told = parse_progress(line, AT)
    assert (told.fraction, told.text, told.at) == (fraction, text, AT)


def test_an_empty_line_says_nothing():
    assert parse_progress(b"  \r", AT) is None


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress"


def test_whole_lines_only_and_the_last_counts(path):
    file = ProgressFile(str(path))
    assert file.read_on(AT) is None
    path.write_bytes(b"0.1 a\n0.2 b\n0.3 c")
    assert file.read_on(AT).text == "b"
    with open(path, "ab") as more:
        more.write(b"c\n\n")
    assert file.read_on(AT).text == "cc"
    assert file.read_on(AT).text == "cc"
    path.write_bytes(b"0.9 anew\n")
    assert file.read_on(AT).text == "anew"


def test_much_that_is_new_is_not_read(path, monkeypatch):
    path.write_bytes(b"0.1 x\n" * 1_000_000 + b"0.5 y\n")
    read, real = [], os.pread
    monkeypatch.setattr(
        "shorepower.clusters.local.progress.os.pread",
        lambda fd, length, offset: read.append(length) or real(fd, length, offset),
    )
    assert ProgressFile(str(path)).read_on(AT).text == "y"
    assert sum(read) <= 1 << 16


def test_no_line_end_and_no_end(path):
    path.write_bytes(b"x" * 300_000)
    file = ProgressFile(str(path))
    assert file.read_on(AT) is None
    with open(path, "ab") as more:
        more.write(b"\n0.5 y\n")
    assert file.read_on(AT).text == "y"


def test_what_is_no_file_is_left_alone(path, tmp_path):
    os.mkfifo(path)
    assert ProgressFile(str(path)).read_on(AT) is None
    path.unlink()
    (tmp_path / "secret").write_text("0.5 secret\n")
    path.symlink_to(tmp_path / "secret")
    assert ProgressFile(str(path)).read_on(AT) is None
    assert ProgressFile(str(tmp_path)).read_on(AT) is None
