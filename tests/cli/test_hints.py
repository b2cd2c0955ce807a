"""What a failed job may have missed, from what it wrote."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from shorepower.cli.ending import results_fault
from shorepower.cli.hints import refused_writes
from shorepower.client.view import Folder, Item, ProjectView
from shorepower.model.lifecycle import State
from shorepower.model.results import ResultsState, ResultsSummary
from support.dispatching import a_job, a_spec, sweep

SENT = Folder(
    b"", 0o755, 0, (Item(b"in.txt", "file", 0o644, 0), Item(b"to", "link", 0o777, 0)),
    (Folder(b"sub", 0o755, 0, (Item(b"b.csv", "file", 0o644, 0),)),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "workdir", "named"),
    [
        ("PermissionError: [Errno 13] Permission denied: 'in.txt'", "", ["in.txt"]),
        ("w.sh: line 3: ./sub/b.csv: Permission denied\n", "", ["sub/b.csv"]),
        ("sh: 1: cannot create b.csv: Permission denied", "sub", ["b.csv"]),
        ("cannot open file 'in.txt': Permission denied\nin.txt: Permission denied", "", ["in.txt"]),
        ("in.txt is read\n/etc/shadow: Permission denied", "", []),
        ("to: Permission denied", "", []),
        ("in.txt: No such file or directory", "", []),
    ],
)
def test_what_was_sent_and_may_not_be_written_is_known_by_the_output(
    text: str, workdir: str, named: list[str]
) -> None:
    view = ProjectView(root=Path("/p"), workdir=workdir, tree=SENT)

    assert refused_writes(text, view) == named


@pytest.mark.parametrize("array", [True, False])
def test_files_that_tasks_changed_for_all_are_told_at_the_end(array: bool) -> None:
    told = "tasks changed the shared file 'in.txt'"
    results = ResultsSummary(state=ResultsState.READY, why=told)
    job = replace(a_job(sweep(2) if array else a_spec()), state=State.COMPLETED, results=results)

    said = results_fault(job)

    assert [line.partition(": the other tasks")[0] for line in said] == ([told] if array else [])
