import os

import pytest

from shorepower.clusters.spool import Spool
from shorepower.model.errors import StateDirectoryFault
from shorepower.model.lifecycle import Reason
from shorepower.model.output import Stream
from shorepower.testing.clock import FakeClock


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "state" / "spool")


@pytest.fixture
def part(spool):
    return spool.part("abc-1", 0, 0)


def close(fds):
    for fd in fds:
        os.close(fd)


def test_output_is_appended_to_by_nobody_else(part):
    old = os.umask(0)
    try:
        close(part.open_output())
    finally:
        os.umask(old)
    assert part.folder.stat().st_mode & 0o777 == 0o700
    file = part.folder / "stdout.0.0"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"kept")
    stdout, stderr = part.open_output()
    os.write(stdout, b" and more")
    assert os.get_blocking(stdout)
    assert not os.get_inheritable(stdout)
    close((stdout, stderr))
    assert file.read_bytes() == b"kept and more"


def test_nothing_but_a_plain_file_of_ours_is_written_to(part, tmp_path):
    close(part.open_output())
    file, precious = part.folder / "stderr.0.0", tmp_path / "precious"
    precious.write_bytes(b"mine")
    for put in (
        lambda: file.symlink_to(precious),
        lambda: file.symlink_to(tmp_path / "nothing"),
        lambda: file.hardlink_to(precious),
        lambda: os.mkfifo(file),
        lambda: file.mkdir(),
    ):
        if file.is_dir():
            file.rmdir()
        else:
            file.unlink()
        put()
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(StateDirectoryFault, match=r"stderr\.0\.0 is no plain file"):
            part.open_output()
        assert len(os.listdir("/proc/self/fd")) == before
    assert precious.read_bytes() == b"mine"
    assert not (tmp_path / "nothing").exists()


def test_a_folder_that_others_can_enter_is_refused(part):
    close(part.open_output())
    part.folder.chmod(0o750)
    with pytest.raises(StateDirectoryFault, match="0700"):
        part.open_output()


@pytest.mark.parametrize("name", ["", "..", "a/b", "A-1", "-a", "a" * 64, "a\n", "a.b"])
def test_only_submission_ids_name_folders(spool, name):
    with pytest.raises(ValueError, match="no submission id"):
        spool.folder(name)


def test_forbidding_is_exclusive_and_whole(part):
    assert part.evidence().fenced is False
    assert part.forbid(Reason.STOPPED, FakeClock().now())
    assert not part.forbid(Reason.KILLED, FakeClock().now())
    seen = part.evidence()
    assert seen.fenced
    assert seen.fence.forbidden is Reason.STOPPED
    assert [file.name for file in part.folder.iterdir()] == ["start.0.0"]


def test_an_empty_fence_is_a_fence(part):
    close(part.open_output())
    part.fence.touch()
    seen = part.evidence()
    assert (seen.fenced, seen.fence) == (True, None)
    assert seen.fenced_at > 0


def test_forget_is_complete_and_harmless_twice(spool, part):
    close(part.open_output())
    assert spool.begun() == {"abc-1"}
    spool.forget("abc-1")
    spool.forget("abc-1")
    assert spool.begun() == set()
    assert Spool(spool.root / "no").begun() == set()


def test_the_next_task_that_wrote_something_is_found(spool: Spool) -> None:
    assert spool.next_output("a-1", 0, 100) is None
    for task, size in ((3, 0), (5, 1), (9, 1)):
        for fd in spool.part("a-1", task, 0).open_output():
            os.write(fd, b"x" * size)
            os.close(fd)
    os.unlink(spool.part("a-1", 9, 0).output(Stream.STDOUT))

    assert spool.next_output("a-1", 0, 100) == 5
    assert spool.next_output("a-1", 6, 100) == 9
    assert spool.next_output("a-1", 6, 9) is None
