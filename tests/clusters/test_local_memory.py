"""A job that takes more memory than it asked for is ended, as a whole and with the figures.

Real processes.
"""

import os
import sys

import pytest

from shorepower.host.processes import proportional_mib
from shorepower.model.lifecycle import Reason, State
from shorepower.model.resources import Resources
from support.cluster_rigs import PROFILES, rig_of

pytestmark = pytest.mark.anyio

LOCAL = next(profile for profile in PROFILES if profile.name == "local")
ASKED_MIB = 150
GREEDY = """
import os, time
print("up", flush=True)
if os.fork() == 0:
    held = []
    while True:
        held.append(os.urandom(1 << 20))
        time.sleep(0.001)
time.sleep(300)
"""
SHARING = """
import os, time
held = os.urandom(100 << 20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(1.5)
        os._exit(0)
time.sleep(1.5)
print(len(held), flush=True)
"""


@pytest.fixture
async def rig(tmp_path):
    async with rig_of(LOCAL, tmp_path) as made:
        yield made


async def _submit(rig, code, **asked):
    order = rig.order("job-1", resources=Resources(cpu_count=0.1, **asked))
    told = {field: getattr(order, field) for field in order.__struct_fields__}
    told["argv"] = (sys.executable, "-c", code)
    await rig.cluster.submit(type(order)(**told))


async def test_too_much_in_all_its_processes_is_out_of_memory(rig):
    await _submit(rig, GREEDY, memory_mib=ASKED_MIB)
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.exit_code) == (State.FAILED, Reason.OUT_OF_MEMORY, 137)
    assert end.why.startswith("asked 150 MiB, reached ")
    assert end.why.endswith(" when it was ended")
    assert end.usage.peak_memory_mib > ASKED_MIB


async def test_what_its_processes_share_counts_once(rig):
    await _submit(rig, SHARING, memory_mib=ASKED_MIB)
    end = await rig.end("job-1")
    assert (end.state, end.why) == (State.COMPLETED, "")
    assert end.usage.peak_memory_mib > 2 * ASKED_MIB  # their sizes together, which is what a sweep can see


async def test_who_asked_for_no_memory_has_no_limit(rig):
    await _submit(rig, SHARING)
    end = await rig.end("job-1")
    assert end.state is State.COMPLETED


def test_shared_pages_are_divided():
    own = proportional_mib(1 << 22)
    assert own is None
    mine = proportional_mib(os.getpid())
    assert mine is not None
    assert mine > 1
