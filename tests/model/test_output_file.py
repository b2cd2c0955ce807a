"""What patterns of ``#SBATCH -o`` come to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.check import check
from shorepower.model.cluster import ClusterInfo
from shorepower.model.job import JobSpec
from shorepower.model.output_file import expand, pattern_values

VALUES = pattern_values(job="abc", name="fit", user="ann", host="n042.example.org", index=7)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("slurm-%j.out", "slurm-abc.out"),
        ("%A_%a.out", "abc_7.out"),
        ("%x/%3a-%N-%u.txt", "fit/007-n042-ann.txt"),
        ("100%%_%J_%5x", "100%_abc_fit"),
        ("%q%", "%q%"),
        ("%99a", "0000000007"),
        ("plain.txt", "plain.txt"),
    ],
)
def test_each_letter_stands_for_something(pattern: str, path: str) -> None:
    assert expand(pattern, VALUES) == path


def test_a_host_that_is_not_known_yet_stays_as_it_is_written() -> None:
    assert expand("%N.%j", pattern_values(job="abc", name="x", user="u")) == "%N.abc"


@given(st.sampled_from(["%x", "a/%x", "%x/b", ".%x", "%x%x"]), st.text(alphabet="./\0a", max_size=4))
def test_no_value_leads_out_of_a_folder(pattern: str, name: str) -> None:
    path = expand(pattern, pattern_values(job="abc", name=name, user="u"))

    assert path.count("/") == pattern.count("/")
    assert not {"", ".", ".."}.intersection(path.split("/"))
    assert "\0" not in path


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../b", "a//b", "a/", "a\0b"])
def test_a_path_that_is_none_of_the_project_is_refused(path: str) -> None:
    spec = JobSpec(name="x", argv=("true",), stdout_file=path, stderr_file="fine.txt")

    faults = check(spec, {"local": ClusterInfo(name="local", type="local")})

    assert [fault.field for fault in faults] == ["stdout_file"]
