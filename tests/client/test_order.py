"""How people write what a job comes after, and when it may start."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.client.options import read_options
from shorepower.client.order import parse_dependency, parse_moment
from shorepower.client.sbatch import read_directives
from shorepower.model.dependency import Want
from shorepower.model.errors import InvalidRequest

ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 12, 1, 14, 0, 30, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("+2h", NOW + timedelta(hours=2)),
        ("now+90s", NOW + timedelta(seconds=90)),
        ("+30", NOW + timedelta(minutes=30)),
        ("14:30", datetime(2026, 12, 1, 14, 30, tzinfo=ZONE)),
        ("14:00", datetime(2026, 12, 2, 14, 0, tzinfo=ZONE)),
        ("6:05:07", datetime(2026, 12, 2, 6, 5, 7, tzinfo=ZONE)),
        ("2026-12-24", datetime(2026, 12, 24, tzinfo=ZONE)),
        ("2026-12-24T18:00", datetime(2026, 12, 24, 18, tzinfo=ZONE)),
        ("2026-12-24T18:00Z", datetime(2026, 12, 24, 18, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


@given(
    st.one_of(st.text(max_size=12), st.sampled_from(["25:00", "12:60", "+", "+x", "tomorrow", "", "now"]))
)
def test_what_is_no_moment_is_told_with_what_is(text: str) -> None:
    try:
        assert parse_moment(text, NOW).tzinfo is not None
    except ValueError as wrong:
        assert "write" in str(wrong) or "time limit" in str(wrong)


def test_dependencies_as_sbatch_has_them() -> None:
    assert parse_dependency("afterok:k3fq:m2v6,afterany:p7xa,after:@prep") == {
        Want.OK: ("k3fq", "m2v6"),
        Want.ANY: ("p7xa",),
        Want.START: ("@prep",),
    }
    for wrong in ("singleton", "afterok", "afterok:", "afternotok:k3fq", ""):
        with pytest.raises(ValueError, match="write after:ID"):
            parse_dependency(wrong)


def test_sbatch_lines_say_it_too() -> None:
    said = read_directives(["#SBATCH --dependency=afterok:k3fq --begin=2026-12-24T18:00Z", "#SBATCH -d x"])

    assert said.dependency == {Want.OK: ("k3fq",)}
    assert said.not_before == datetime(2026, 12, 24, 18, tzinfo=UTC)
    assert ["'x'" in fault.message for fault in said.faults] == [True]


def test_programs_name_jobs_by_id_or_by_what_they_hold() -> None:
    class Handle:
        id = "k3fqabcdefgh"

    options = read_options({"after_ok": Handle(), "after": ["@a", Handle()], "not_before": "+1h"})

    assert options.after_ok == ("k3fqabcdefgh",)
    assert options.after == ("@a", "k3fqabcdefgh")
    assert options.not_before is not None
    assert options.not_before.tzinfo is not None
    with pytest.raises(InvalidRequest, match="no moment"):
        read_options({"not_before": "soon"})
