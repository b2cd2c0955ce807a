"""The cluster `local` keeps all its promises when its jobs are another user's, started through the helper.

The server is root here, so that it can lend each attempt's folder to its user and read what is in it.
Arrays keep the records of all tasks in one folder, which has to be the server's own: they are not here.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

import contract.test_clusters
from shorepower.host.contract import SpawnLater
from shorepower.host.user import UserHost
from shorepower.model.lifecycle import State
from support.cluster_rigs import Profile, make_local, rig_of, shell_script
from support.people import HelperRig, needs_root, people

pytestmark = [pytest.mark.anyio, needs_root]
globals().update(
    {name: test for name, test in vars(contract.test_clusters).items() if name.startswith("test_")}
)


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
async def rig(users, helper):
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
