"""The cluster `local` keeps all its promises when its jobs are another user's, started through the helper.

The server is root here, so that it can lend the folders of records to their user and read what is in them;
that these have to be its own is not asked for.
"""

import os
import random
import shutil
import tempfile
from pathlib import Path

import anyio
import pytest

import contract.test_arrays
import contract.test_clusters
from shorepower.host.contract import SpawnLater
from shorepower.host.user import UserHost
from shorepower.model.lifecycle import Reason, State
from support.cluster_rigs import Profile, make_local, rig_of, shell_script
from support.people import HelperRig, needs_root, people

pytestmark = [pytest.mark.anyio, needs_root]
for suite in (contract.test_clusters, contract.test_arrays):
    globals().update({name: test for name, test in vars(suite).items() if name.startswith("test_")})


class LentHost(UserHost):
    """Gives the folder of an attempt to its user, before the wrapper takes the fence in it."""

    def _spawn(self, what):
        def make(files):
            made = what.make(files)
            folder = Path(made.argv[4])  # sh -c TEXT NAME FOLDER
            os.chown(folder, self.uid, -1)
            for above in list(folder.parents)[:2]:
                above.chmod(0o711)
            return made

        return super()._spawn(SpawnLater(make=make))


@pytest.fixture(scope="module")
def users():
    with people("ada", system=("harbour",)) as made:
        yield made


@pytest.fixture(scope="module")
def helper(users):
    rig = HelperRig(users["harbour"])
    rig.start()
    yield rig
    rig.close()


@pytest.fixture
async def rig(users, helper, monkeypatch):
    monkeypatch.setattr("shorepower.clusters.spool._check_folder", lambda folder, seen: None)
    folder = Path(tempfile.mkdtemp(prefix="shore-as-"))
    os.chown(folder, users["ada"], -1)
    folder.chmod(0o711)

    def make(folder):
        host = LentHost(users["ada"], helper.socket, helper.connect)
        return make_local(folder, host=host, shell=("/bin/sh",))

    profile = Profile(
        name="local",
        make=make,
        remake=lambda cluster, folder: make(folder),
        argv=shell_script,
        adopts_unknown=True,
        records=lambda folder, submission: (folder / "spool" / submission).exists(),
    )
    async with rig_of(profile, folder) as made:
        yield made
    shutil.rmtree(folder)


async def test_a_job_is_its_users(rig, users):
    await rig.cluster.submit(rig.order("job-1", argv=("sh", "-c", "id -u; id -un; touch made")))
    assert (await rig.end("job-1")).state is State.COMPLETED
    assert (await rig.printed("job-1", b"\n")).split() == [
        str(users["ada"]).encode(),
        f"shore{os.getpid()}ada".encode(),
    ]
    assert (rig.folder / "made").stat().st_uid == users["ada"]


async def test_a_job_outlives_the_helper_and_its_end_is_told(rig, helper):
    waits = "while [ ! -e go ]; do sleep 0.02; done; exit 7"
    await rig.cluster.submit(rig.order("job-1", argv=("sh", "-c", waits)))
    await rig.state("job-1", State.RUNNING)
    helper.kill()
    helper.start()
    (rig.folder / "go").touch()
    end = await rig.end("job-1")
    assert (end.state, end.exit_code) == (State.FAILED, 7)
    await rig.cluster.submit(rig.order("job-2", argv=("sh", "-c", "exit 3")))
    assert (await rig.end("job-2")).exit_code == 3


async def test_a_job_waits_for_a_helper_that_is_away(rig, helper):
    helper.kill()
    try:
        await rig.cluster.submit(rig.order("job-1", "out:here"))
        waits = await rig.until("job-1", lambda seen: "is shorepower-helper running" in seen.why)
        assert (waits.state, waits.reason) == (State.PENDING, Reason.RESOURCES)
    finally:
        helper.start()
    assert (await rig.end("job-1")).state is State.COMPLETED


async def test_who_is_not_served_is_told_so(rig, helper, users):
    rig.cluster = make_local(rig.folder, host=UserHost(users["harbour"], helper.socket, helper.connect))
    async with anyio.create_task_group() as tg:
        await tg.start(rig._run)
        tg.start_soon(rig._watch)
        await rig.cluster.submit(rig.order("job-1", "out:here"))
        end = await rig.end("job-1")
        assert (end.state, end.reason) == (State.FAILED, Reason.LAUNCH)
        assert "is not served" in end.why
        tg.cancel_scope.cancel()


async def test_each_job_runs_once_however_often_the_helper_is_killed(rig, helper):
    count = 60
    names = [f"job-{number}" for number in range(count)]
    for name in names:
        line = f"echo ran >> {rig.folder}/{name}; sleep 0.05"
        await rig.cluster.submit(rig.order(name, argv=("sh", "-c", line)))
    kills = 0
    while not all(rig.of(name) and rig.of(name)[-1].state.ended for name in names):
        helper.kill()
        helper.start()
        kills += 1
        with anyio.move_on_after(0.03 * random.random()):
            await anyio.sleep(1)  # an instant of chance between two kills
    print(f"{count} jobs, the helper killed {kills} times")
    assert [(rig.folder / name).read_text() for name in names] == ["ran\n"] * count
    assert {(await rig.end(name)).state for name in names} == {State.COMPLETED}
