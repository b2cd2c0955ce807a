"""What a notebook shows of a job: data stays data; the end of an output is what a screen would show."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from shorepower.client.notebook.page import Picture, elapsed, html_of, last_lines, text_of
from shorepower.model.job import Job, Progress
from shorepower.model.lifecycle import State

START = datetime(2030, 1, 1, tzinfo=UTC)
JOB = Job(
    id="jobabcdefgha",
    name="fit",
    owner="u",
    cluster="local",
    state=State.RUNNING,
    created_at=START,
    started_at=START,
)


def picture(job: Job = JOB, **more) -> Picture:
    return Picture(job=job, at=START + timedelta(seconds=75), **more)


@pytest.mark.parametrize("evil", ["<script>x</script>", "a & b", "\"'><img src=x onerror=y>", "</pre><b>"])
def test_no_text_becomes_markup(evil: str) -> None:
    progress = Progress(text=evil, at=START)
    job = replace(JOB, name=evil, cluster=evil, why=evil, state=State.SUSPENDED, progress=progress)

    html = html_of(picture(job, tail=evil, notes=(evil,)))

    assert evil not in html
    for piece in ("<script", "<img", "</pre><b>", "a & b"):
        assert piece not in html


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x1b]0;title\x07", "\u202e", "\x9b2J", "\x00", "\x85"])
def test_nothing_moves_a_cursor(evil: str) -> None:
    shown = picture(replace(JOB, name=f"a{evil}b"), tail=f"a{evil}b")

    for text in (html_of(shown), text_of(shown)):
        assert not set(evil) & {"\x1b", "\u202e", "\x9b", "\x00", "\x85"} & set(text)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\nb\n", "a\nb"),
        (" 10%\r 50%\r100%\n", "100%"),
        (" 10%\r 50%\r", " 50%"),
        ("a\r\nb\r\n", "a\nb"),
        ("\x1b[1;31mred\x1b[0m\tx", "red\tx"),
        ("", ""),
    ],
)
def test_the_end_of_an_output(text: str, seen: str) -> None:
    assert last_lines(text) == seen


def test_only_the_last_lines_are_shown_and_none_is_endless() -> None:
    seen = last_lines("\n".join(map(str, range(100))) + "\n" + "x" * 10_000, most=3).split("\n")

    assert seen[:2] == ["98", "99"]
    assert len(seen[2]) == 400


def test_tasks_are_a_bar() -> None:
    counts = {State.COMPLETED: 5, State.FAILED: 1, State.RUNNING: 2, State.PENDING: 2}
    html = html_of(picture(replace(JOB, array=True, task_count=10, counts=counts)))

    assert "6 of 10 tasks ended" in html
    assert "width:50.00%" in html
    assert "width:20.00%" in html


def test_how_long_it_took() -> None:
    assert elapsed(JOB, START + timedelta(seconds=75)) == "1 min 15 s"
    assert elapsed(replace(JOB, ended_at=START + timedelta(hours=2, minutes=5)), START) == "2 h 5 min"
    assert elapsed(replace(JOB, started_at=None), START) == ""
