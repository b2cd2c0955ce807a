"""Records out of bytes that arrive split anywhere."""

import io
import json
import pickle
import random
import subprocess
import sys
import tracemalloc

import pytest

from shorepower.client.python.values import BadRecords, RecordReader


def record(item: int, value: object, *buffers: bytes, kind: str = "value", end: bytes = b"\n") -> bytes:
    sections = [pickle.dumps(value, 5), *buffers]
    sizes = [len(section) for section in sections]
    head = {"v": 1, "item": item, "kind": kind, "runtime": "python-pickle/3.11", "sizes": sizes}
    return json.dumps(head | {"size": sum(sizes)}).encode() + b"\n" + b"".join(sections) + end


@pytest.mark.parametrize("seed", range(30))
def test_records_come_out_however_they_are_split(seed: int) -> None:
    values = [None, "ä" * 1000, list(range(3000)), {"a": b"\n" * 50}, b"x" * 200_000]
    log = b"".join(record(item, value) for item, value in enumerate(values))
    rolls, reader, found = random.Random(seed), RecordReader(), []
    at = 0
    while at < len(log):
        size = rolls.choice((1, 2, 7, 100, 5000, 100_000))
        found += reader.feed(log[at : at + size])
        at += size

    assert [(one.item, one.kind, one.unpickle()) for one in found] == [
        (item, "value", value) for item, value in enumerate(values)
    ]
    assert reader.offset == len(log)


@pytest.mark.parametrize("step", [1, 3, 1000, 1 << 20])
def test_buffers_are_received_to_where_they_stay(step: int) -> None:
    data = [bytes([number]) * size for number, size in enumerate((5, 0, 4097, 1000))]
    buffers: list[pickle.PickleBuffer] = []
    value = [pickle.PickleBuffer(bytearray(part)) for part in data]
    pickled = pickle.dumps(value, 5, buffer_callback=buffers.append)
    sizes = [len(pickled), *map(len, data)]
    head = {"item": 4, "kind": "value", "sizes": sizes, "size": sum(sizes)}
    log = json.dumps(head).encode() + b"\n" + pickled + b"".join(data) + b"\n"
    reader, found = RecordReader(), []
    for at in range(0, len(log), step):
        found += reader.feed(log[at : at + step])

    (one,) = found
    assert [bytes(part) for part in one.unpickle()] == data


def test_a_record_that_is_not_whole_is_not_there() -> None:
    whole = record(0, "value")
    for end in range(len(whole)):
        assert RecordReader().feed(whole[:end]) == []


def test_void_records_and_heads_that_were_cut_are_passed_over() -> None:
    log = record(0, "void", end=b"x") + b'{"item":1,"ki!\n' + record(2, "good")

    assert [one.item for one in RecordReader().feed(log)] == [2]


def test_a_log_that_begins_anew_is_read_anew() -> None:
    reader = RecordReader()
    reader.feed(record(0, "old")[:-3], 0)

    (one,) = reader.feed(record(1, "new"), 0)

    assert one.unpickle() == "new"
    with pytest.raises(BadRecords):
        reader.feed(b"x", 5)


@pytest.mark.parametrize(
    "log",
    [
        b"nonsense\n",
        b'{"item":0}\n',
        b'{"item":0,"kind":"value","size":3,"sizes":[1]}\n',
        b'{"item":0,"kind":"value","size":-1,"sizes":[-1]}\n',
        b'{"item":0,"kind":"value","size":1,"sizes":[1]}\nab',
        b"x" * (5 << 20),
    ],
)
def test_what_is_no_log_is_refused(log: bytes) -> None:
    with pytest.raises(BadRecords):
        RecordReader().feed(log)


def test_a_large_value_is_never_there_twice() -> None:
    size = 256 << 20
    # BINBYTES8 of 64 MiB: its opcode, its length, then the bytes themselves. Source: pickletools.
    start = b"\x80\x05\x8e" + size.to_bytes(8, "little")
    sizes = [len(start) + size + 1]
    head = json.dumps({"item": 0, "kind": "value", "sizes": sizes, "size": sizes[0]}).encode() + b"\n"
    reader = RecordReader()
    tracemalloc.start()
    reader.feed(head + start)
    for number in range(size >> 20):
        reader.feed(bytes([number]) * (1 << 20))
    (one,) = reader.feed(b".\n")
    received = tracemalloc.get_traced_memory()[1]
    value = one.unpickle()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert len(value) == size
    assert value[5 << 20] == 5
    assert received < size * 1.1
    assert peak < size * 2.1  # as it is counted here, what is not touched yet counts as well
    assert one._pickle.read() == b""


def test_large_buffers_take_their_own_size() -> None:
    size = 64 << 20
    pickled = io.BytesIO()
    pickler = pickle.Pickler(pickled, 5, buffer_callback=lambda _: False)
    pickler.dump(pickle.PickleBuffer(bytearray(8)))
    sizes = [len(pickled.getvalue()), size]
    head = json.dumps({"item": 0, "kind": "value", "sizes": sizes, "size": sum(sizes)}).encode() + b"\n"
    reader = RecordReader()
    tracemalloc.start()
    reader.feed(head + pickled.getvalue())
    for _ in range(size >> 20):
        reader.feed(bytes(1 << 20))
    (one,) = reader.feed(b"\n")
    value = one.unpickle()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert memoryview(value).nbytes == size
    assert peak < size * 1.1


def test_memory_of_a_pickle_goes_back_as_it_is_read() -> None:
    """In a process of its own, as the system counts it; what ``getrusage`` tells would be the peak of the
    process that started it, if that is larger. Source: fs/exec.c, exec_mmap."""
    size_mib = 320
    script = f"""
import json
from pathlib import Path
from shorepower.client.python.values import RecordReader
size = {size_mib} << 20
start = b"\\x80\\x05\\x8e" + size.to_bytes(8, "little")
whole = len(start) + size + 1
reader = RecordReader()
head = {{"item": 0, "kind": "value", "sizes": [whole], "size": whole}}
reader.feed(json.dumps(head).encode() + b"\\n" + start)
for _ in range(size >> 20):
    reader.feed(bytes([7]) * (1 << 20))
(one,) = reader.feed(b".\\n")
assert len(one.unpickle()) == size
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)

    assert int(done.stdout) < size_mib + 64 + 100, done.stderr
