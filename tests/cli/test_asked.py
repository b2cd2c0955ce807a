"""What was asked for comes back in words."""

import pytest

from shorepower.cli.render.asked import asked_line
from shorepower.model.resources import Resources


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (Resources(), ""),
        (Resources(wall_time_s=1800), "asks for at most 30 min 00 s"),
        (Resources(cpu_count=1), "asks for 1 cpu"),
        (
            Resources(cpu_count=0.5, memory_mib=8192, gpu_count=2, gpu_type="a100", wall_time_s=129_600),
            "asks for 0.5 cpus, 8 GiB of memory, 2 GPUs a100, at most 1 d 12 h",
        ),
    ],
)
def test_amounts_are_echoed_in_words(asked: Resources, line: str) -> None:
    assert asked_line(asked) == line


def test_memory_that_only_the_queue_heeds_is_told() -> None:
    line = asked_line(Resources(memory_mib=512), enforces_memory=False)

    assert line == "asks for 512 MiB of memory (kept free for it, but not enforced)"
