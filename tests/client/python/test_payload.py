"""What is sent: by value where it must be, in few blobs, and without a second copy in memory."""

import importlib
import pickle
import sys
import threading
import tracemalloc
from pathlib import Path

import cloudpickle
import pytest

from shorepower.client.python import payload
from shorepower.client.python.calls import name_of
from shorepower.client.python.errors import CannotSend
from shorepower.client.python.modules import by_value, project_modules
from shorepower.client.python.remote import remote
from shorepower.model.tree import digest_of
from shorepower.wire.http.frames import FrameReader
from support.calling import Stage, one_task


class Shelf:
    """What a server keeps of blobs."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.bodies: list[int] = []

    def missing(self, digests):
        return [digest for digest in digests if digest not in self.blobs]

    def send(self, body: bytes) -> None:
        self.bodies.append(len(body))
        for header, data in FrameReader().feed(body):
            assert digest_of(data) == header["digest"]
            self.blobs[header["digest"]] = data

    def deliver(self, made):
        return payload.deliver(made, missing=self.missing, send=self.send)


def same(value):
    return value


def test_small_calls_travel_inline() -> None:
    shelf = Shelf()
    sent = shelf.deliver(payload.call_input(same, (1,), {}))

    assert sent.inline.startswith(b"shorepower-python 1 call ")
    assert (sent.blobs, sent.size_bytes, shelf.bodies) == ((), len(sent.inline), [])
    assert sent.runtime == f"python-pickle/{sys.version_info[0]}.{sys.version_info[1]}"


def test_large_ones_are_blobs_that_together_are_the_input() -> None:
    shelf, data = Shelf(), bytes(range(256)) * (40 << 12)
    made = payload.call_input(same, (data, "small"), {})

    sent = shelf.deliver(made)

    whole = b"".join(shelf.blobs[digest] for digest in sent.blobs)
    assert (len(whole), sent.size_bytes, sent.inline) == (sent.size_bytes, made.size_bytes, b"")
    assert max(map(len, shelf.blobs.values())) <= 16 << 20
    assert max(shelf.bodies) < 33 << 20


def test_the_same_data_is_sent_once() -> None:
    shelf, data = Shelf(), bytes(20 << 20)
    shelf.deliver(payload.call_input(same, (data, 1), {}))
    before = sum(shelf.bodies)

    shelf.deliver(payload.call_input(same, (data, 2), {}))

    assert sum(shelf.bodies) - before < 10_000


def test_a_large_argument_is_never_there_twice() -> None:
    data, size = bytearray(96 << 20), 96 << 20
    held: list[int] = []

    def send(body: bytes) -> None:
        held.append(len(body))

    tracemalloc.start()
    made = payload.call_input(same, (pickle.PickleBuffer(data), bytes(4)), {})
    payload.deliver(made, missing=lambda digests: list(digests), send=send)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < size / 2


@pytest.mark.parametrize("wrap", [bytes, lambda data: [bytes(data)], pickle.PickleBuffer])
def test_the_large_items_of_a_map_are_never_there_twice(wrap) -> None:
    shelf, size = Shelf(), 8 << 20
    values = [wrap(bytearray([number]) * size) for number in range(8)]

    tracemalloc.start()
    made, count = payload.map_input(same, zip(values, strict=True), one_task)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert (count, made.size_bytes > 8 * size) == (8, True)
    assert peak < size
    assert len(shelf.deliver(made).blobs) >= 8


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((1, (n for n in ())), {}, "argument 2 of same, a generator, cannot be sent"),
        ((), {"value": threading.Lock()}, "argument 'value' of same, a lock, cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_named(args, kwargs, told: str) -> None:
    with pytest.raises(CannotSend, match=told) as raised:
        payload.call_input(same, args, kwargs)
    assert isinstance(raised.value, TypeError)


def test_a_function_over_a_lock_cannot_be_sent() -> None:
    lock = threading.Lock()

    with pytest.raises(CannotSend, match=r"the function .*locked cannot be sent: cannot pickle"):

        def locked():
            return lock

        payload.call_input(locked, (), {})


def test_an_item_that_cannot_be_sent_is_named() -> None:
    with pytest.raises(CannotSend, match="item 2 cannot be sent"):
        payload.map_input(same, [(1,), (2,), (threading.Lock(),)], one_task)


# modules of the project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    (root / "deep" / "pack").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "deep" / "pack" / "__init__.py").write_text("from .inner import Thing, make\n")
    (root / "deep" / "pack" / "inner.py").write_text(
        "LIMIT = 3\nclass Thing:\n    def __init__(self, n): self.n = n\n"
        "def make(n): return Thing(min(n, LIMIT))\n"
    )
    site = root / ".venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (site / "installed_there.py").write_text("def f(): return 1\n")
    (tmp_path / "outside_it.py").write_text("def f(): return 1\n")
    for place in (root / "deep", site, tmp_path):
        monkeypatch.syspath_prepend(str(place))
    monkeypatch.chdir(root / "deep")
    yield root
    for name in ("pack", "pack.inner", "installed_there", "outside_it"):
        sys.modules.pop(name, None)


def test_the_project_s_modules_travel_by_value(project: Path, tmp_path: Path) -> None:
    pack = importlib.import_module("pack")
    (tmp_path / "stage").mkdir()

    thing = Stage(tmp_path / "stage").call(pack.make, 7).value

    assert type(thing) is pack.Thing
    assert thing.n == 3


def test_only_what_is_written_in_the_project_counts(project: Path) -> None:
    for name in ("pack", "installed_there", "outside_it"):
        importlib.import_module(name)

    names = {module.__name__ for module in project_modules()}

    assert {"pack", "pack.inner"} <= names
    assert not names & {"installed_there", "outside_it", "os", "pytest", "json"}


def test_the_registry_is_as_it_was(project: Path) -> None:
    pack = importlib.import_module("pack")
    inner = importlib.import_module("pack.inner")
    cloudpickle.register_pickle_by_value(inner)
    try:
        with by_value():
            assert "pack" in cloudpickle.list_registry_pickle_by_value()
        assert cloudpickle.list_registry_pickle_by_value() == {"pack.inner"}
    finally:
        cloudpickle.unregister_pickle_by_value(inner)
    assert pack


def test_threads_do_not_take_each_other_s_modules_away(project: Path) -> None:
    pack = importlib.import_module("pack")
    failed: list[Exception] = []

    def work() -> None:
        for _ in range(50):
            made = payload.call_input(pack.make, (1,), {})
            if b"_make_function" not in b"".join(map(bytes, made.views)):
                failed.append(AssertionError("by reference"))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed
    assert not cloudpickle.list_registry_pickle_by_value()


# decorated functions


@remote(cpus=2)
def countdown(left: int) -> int:
    """Calls itself by its own, decorated name."""
    return 0 if left == 0 else 1 + countdown(left - 1)


def test_a_decorated_function_runs_here_and_travels_alone(tmp_path: Path) -> None:
    assert countdown(3) == 3
    assert (countdown.__name__, countdown.__doc__) == (
        "countdown",
        "Calls itself by its own, decorated name.",
    )
    assert Stage(tmp_path).call(countdown.function, 4).value == 4


def test_names_of_jobs_are_those_of_functions() -> None:
    import functools

    assert name_of(same) == "same"
    assert name_of(lambda: 1) == "lambda"
    assert name_of(functools.partial(same, 1)) == "same"
    assert name_of(Shelf().missing) == "Shelf.missing"
