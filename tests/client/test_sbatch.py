"""``#SBATCH`` lines, in our words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.client.sbatch import read_directives, saved_output


def test_what_exists_is_mapped() -> None:
    said = read_directives(
        """#!/bin/bash
# a comment
#SBATCH --job-name=fit -c 4
#SBATCH --mem=8G
#SBATCH -t 1-12:00:00   # one day and a half
#SBATCH -p long --gres=gpu:a100:2
#SBATCH -D sub

echo
""".splitlines()
    )

    assert (said.name, said.cpus, said.memory_mib, said.wall_time_s) == ("fit", 4, 8192, 129_600)
    assert (said.queue, said.gpus, said.workdir) == ("long", (2, "a100"), "sub")
    assert said.present
    assert not said.unmapped
    assert not said.faults


def test_only_the_leading_comment_block_counts() -> None:
    said = read_directives(["#!/bin/sh", "", "#SBATCH -c 2", "x=1", "#SBATCH -c 8"])

    assert said.cpus == 2


def test_what_cannot_be_mapped_is_listed_as_written() -> None:
    said = read_directives(["#SBATCH -i in.txt --exclusive", "#SBATCH --mail-type=ALL -A acct"])

    assert said.unmapped == (
        "-i in.txt", "--exclusive", "--mail-type=ALL", "-A acct",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "workdir", "stdout", "stderr", "unused"),
    [
        ("-o slurm-%j.out", "", "slurm-%j.out", "slurm-%j.out", ()),
        ("--output=logs/%x.out --error logs/%x.err", "sub", "sub/logs/%x.out", "sub/logs/%x.err", ()),
        ("-e ../e.txt", "sub", "", "e.txt", ()),
        ("-o a.txt -e ./a.txt", "", "a.txt", "a.txt", ()),
        ("-o /dev/null", "", "", "", ("-o /dev/null (no file in the project)",)),
        ("-o a -e ../b", "", "a", "", ("-e ../b (no file in the project)",)),
        (
            "-o logs/ -e ..",
            "",
            "",
            "",
            ("-o logs/ (no file in the project)", "-e .. (no file in the project)"),
        ),
        ("-c 2", "", "", "", ()),
    ],
)
def test_where_output_is_also_saved(
    line: str, workdir: str, stdout: str, stderr: str, unused: tuple[str, ...]
) -> None:
    saved = saved_output(read_directives([f"#SBATCH {line}"]), workdir)

    assert (saved.stdout, saved.stderr, saved.unused) == (stdout, stderr, unused)


@pytest.mark.parametrize("line", ["-a 1-9%2", "--array=1-9%2", "--array 1-9%2"])
def test_an_array_is_asked_for(line: str) -> None:
    assert read_directives([f"#SBATCH {line}"]).array == "1-9%2"


def test_one_node_and_one_task_go_without_saying() -> None:
    assert read_directives(["#SBATCH --nodes=1 -n 1 --ntasks 1"]).unmapped == ()


def test_every_fault_at_once() -> None:
    said = read_directives(
        ["#SBATCH --mem=lots", "#SBATCH -t soon", "#SBATCH --gres=tpu:1", "#SBATCH -J 'open"]
    )

    assert len(said.faults) == 4


def test_gpus_without_a_count() -> None:
    assert read_directives(["#SBATCH --gres=gpu"]).gpus == (1, None)
    assert read_directives(["#SBATCH --gres=gpu:v100"]).gpus == (1, "v100")


@given(st.lists(st.text(max_size=60), max_size=5))
def test_no_script_makes_the_reader_fail(lines: list[str]) -> None:
    read_directives([f"#SBATCH {line}" for line in lines] + lines)
