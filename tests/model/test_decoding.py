"""Bytes become structs in any thread, also when several are the first at once."""

import subprocess
import sys

import msgspec
import pytest

from shorepower.model.decoding import json_decoder
from shorepower.model.job import Job, JobSpec

# In a process of its own each time: it is the very first use that is tried, and a failure ends the process.
_FIRST_USE = """
import sys, threading
sys.setswitchinterval(1e-6)
from shorepower.model.job import JobSpec, Link, decode_spec, encode_spec
from shorepower.model.resources import Resources
data = encode_spec(
    JobSpec(name="x", argv=("a",), resources=Resources(cpu_count=2), links=(Link(path="a", target="/b"),))
)
together = threading.Barrier(8)
def first():
    together.wait()
    for _ in range(50):
        decode_spec(data)
threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_several_threads_may_be_the_first_to_read_a_spec() -> None:
    codes = {subprocess.run([sys.executable, "-c", _FIRST_USE], check=False).returncode for _ in range(20)}

    assert codes == {0}


def test_a_decoder_is_made_once_for_each_kind() -> None:
    assert json_decoder(JobSpec) is json_decoder(JobSpec)
    assert json_decoder(list[Job]) is not json_decoder(Job)
    assert json_decoder(list[int]).decode(b"[1]") == [1]
    with pytest.raises(msgspec.ValidationError):
        json_decoder(list[int]).decode(b'["a"]')
