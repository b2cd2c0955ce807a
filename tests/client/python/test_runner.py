"""The runner in an interpreter of its own, which knows nothing of shorepower nor of cloudpickle."""

import ast
import copyreg
import functools
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from shorepower.client.python import payload, tree
from shorepower.client.python.errors import RemoteError
from shorepower.client.python.outcome import error_of, loaded
from shorepower.client.python.tree import runner_tree
from support.calling import Stage, one_task

OTHERS = ("3.8", "3.9", "3.10", "3.12", "3.13", "3.14")


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for known in [known for known in copyreg.dispatch_table if issubclass(known, BaseException)]:
        monkeypatch.delitem(
            copyreg.dispatch_table, known
        )  # what Dask's tests left, which has to be there too
    return Stage(tmp_path)


class Shape:
    """A class that no job can import."""

    def __init__(self, sides: int) -> None:
        self.sides = sides

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and other.sides == self.sides

    __hash__ = None


class Refused(Exception):
    def __init__(self, what: str, code: int) -> None:
        super().__init__(what, code)
        self.code = code


class Awkward(Exception):
    """Pickles, and does not come back: a classic."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


class Keyed(Exception):
    def __init__(self, one: int, *, two: int) -> None:
        super().__init__(f"{one} and {two}")
        self.one = one


class Stubborn(Awkward):
    def __reduce__(self) -> tuple:
        raise RuntimeError("not I")


def double(value):
    return value * 2


def uses_another(value):
    return double(value) + 1


def fail(error):
    raise error


def fail_by(kind):
    raise kind(1, two=2)


def test_nothing_of_ours_is_importable_there(stage: Stage) -> None:
    def look():
        import importlib.util
        import sys

        return [bool(importlib.util.find_spec(name)) for name in ("shorepower", "cloudpickle")], sys.path

    (found, path) = stage.call(look).value

    assert found == [False, False]
    assert not [folder for folder in path if ".shorepower" in folder]


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        (double, (21,), 42),
        (uses_another, (3,), 7),
        (lambda *numbers: sum(numbers), (1, 2, 3), 6),
        (functools.partial(pow, 2), (10,), 1024),
        (len, ("four",), 4),
        (Shape, (4,), Shape(4)),
        (lambda shape: shape.sides, (Shape(5),), 5),
        (lambda: Shape(6), (), Shape(6)),
        (os.path.join, ("a", "b"), "a/b"),
        (lambda: None, (), None),
    ],
    ids=range(10),
)
def test_functions_of_all_kinds_give_their_value(stage: Stage, function, args, value) -> None:
    ran = stage.call(function, *args)

    assert (ran.code, ran.value) == (0, value)


def test_a_class_comes_back_as_itself(stage: Stage) -> None:
    assert type(stage.call(lambda: Shape(1)).value) is Shape


def test_a_closure_comes_back_and_works(stage: Stage) -> None:
    def make(step):
        return lambda value: value + step

    assert stage.call(make, 5).value(1) == 6


def test_a_function_alone_needs_no_cloudpickle(stage: Stage) -> None:
    def modules_there(values, *, named):
        import sys

        return sorted(set(sys.modules) & {"cloudpickle", "pickle", "json", "typing", "traceback", "re"})

    assert stage.call(modules_there, [1, {"a": (2.0, b"x")}], named="x").value == []


def test_the_streams_are_the_job_s_own(stage: Stage) -> None:
    def talk():
        print("out")
        print("err", file=sys.stderr)

    ran = stage.call(talk)

    assert (ran.stdout, ran.stderr) == ("out\n", "err\n")


def test_an_exception_comes_with_its_traceback(stage: Stage) -> None:
    ran = stage.call(fail, Refused("no", 7))
    error = error_of(ran.error)

    assert ran.code == 1
    assert type(error) is Refused
    assert (error.args, error.code) == (("no", 7), 7)
    assert "in fail" in str(error.__cause__)
    assert "shore_runner" not in str(error.__cause__)
    assert "Refused" in ran.stderr


@pytest.mark.parametrize("kind", [Awkward, Keyed, Stubborn])
def test_an_exception_whose_own_pickle_does_not_come_back_is_made_without_it(stage: Stage, kind) -> None:
    error = error_of(stage.call(fail_by, kind).error)

    assert type(error) is kind
    assert (str(error), error.args, error.one) == ("1 and 2", ("1 and 2",), 1)
    assert "in fail_by" in str(error.__cause__)


def test_what_cannot_travel_of_an_exception_is_left_behind_and_named(stage: Stage) -> None:
    def locked():
        error = ValueError("busy")
        error.lock, error.code = threading.Lock(), 7
        raise error

    error = error_of(stage.call(locked).error)

    assert (type(error), error.args, error.code) == (ValueError, ("busy",), 7)
    assert not hasattr(error, "lock")
    assert error.__notes__ == ["its 'lock' stayed in the job: it cannot be pickled"]
    assert isinstance(error.__cause__, RemoteError)


def test_an_exception_that_does_not_come_back_is_told_in_words(stage: Stage) -> None:
    def awkward():
        raise ValueError(threading.Lock())

    error = error_of(stage.call(awkward).error)

    assert type(error).__name__ == "RemoteError"
    assert str(error).startswith("ValueError: <unlocked _thread.lock object")
    assert "in awkward" in error.traceback


def test_causes_are_part_of_the_traceback(stage: Stage) -> None:
    def chained():
        try:
            {}["key"]
        except KeyError as error:
            raise ValueError("outer") from error

    error = error_of(stage.call(chained).error)

    assert isinstance(error, ValueError)
    assert "KeyError: 'key'" in str(error.__cause__)


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda: (number for number in ()), "builtins.generator"),
        (lambda: threading.Lock(), "_thread.lock"),
        (lambda: ({"lock": threading.Lock()}, 1), "builtins.tuple"),
    ],
)
def test_a_value_that_cannot_be_sent_names_its_type(stage: Stage, function, named: str) -> None:
    error = error_of(stage.call(function).error)

    assert f"the value, a {named}, cannot be sent back" in str(error)


@pytest.mark.parametrize(
    ("function", "code", "told"),
    [
        (lambda: sys.exit(3), 3, "sys.exit(3)"),
        (lambda: sys.exit(), 0, "sys.exit()"),
        (lambda: sys.exit("words"), 1, "sys.exit(words)"),
        (functools.partial(fail, KeyboardInterrupt()), 130, "KeyboardInterrupt"),
    ],
)
def test_what_ends_a_process_ends_no_caller(stage: Stage, function, code: int, told: str) -> None:
    ran = stage.call(function)

    assert ran.code == code
    error = error_of(ran.error)
    assert isinstance(error, Exception)
    assert told in str(error)


def test_a_process_that_is_gone_leaves_no_record(stage: Stage) -> None:
    ran = stage.call(os._exit, 7)

    assert (ran.code, ran.records) == (7, [])


def test_warnings_are_kept_and_shown(stage: Stage) -> None:
    def careful():
        for number in range(200):
            warnings.warn(f"number {number}", stacklevel=1)
        return "done"

    ran = stage.call(careful)
    told = [record.told() for record in ran.records if record.kind == "warning"]

    assert (told[3]["type"], told[3]["message"], len(told)) == ("UserWarning", "number 3", 100)
    assert ran.value == "done"
    assert "number 150" in ran.stderr


def test_large_buffers_travel_beside_the_pickle(stage: Stage) -> None:
    sent = bytearray(os.urandom(3 << 20))
    made = payload.call_input(lambda data: data, (pickle.PickleBuffer(sent),), {})

    ran = stage.run(made, "-I", "-S")

    (record,) = ran.records
    assert sum(len(view) for view in made.views) < len(sent) + 10_000
    assert bytes(record.unpickle()) == sent


def test_a_log_is_only_appended_to_and_an_outcome_is_final(stage: Stage, tmp_path: Path) -> None:
    mark = tmp_path / "mark"

    def once():
        with open(mark, "a") as file:
            file.write("x")

    stage.call(once)
    before = stage.log.read_bytes()

    again = stage.run(payload.call_input(once, (), {}), "-I", "-S")

    assert (again.code, mark.read_text(), stage.log.read_bytes()) == (0, "x", before)


@pytest.mark.parametrize("cut", [1, 10, 60, -1, -2, -5])
def test_a_record_that_was_cut_is_void(stage: Stage, cut: int) -> None:
    stage.call(double, "text")
    whole = stage.log.read_bytes()
    stage.log.write_bytes(whole[:cut])

    ran = stage.run(payload.call_input(double, ("text",), {}), "-I", "-S")

    assert ran.value == "texttext"
    assert stage.log.read_bytes().startswith(whole[:cut])


def test_another_python_is_refused_in_words(stage: Stage) -> None:
    made = payload.call_input(double, (1,), {})
    lines = made.head.replace(payload.VERSION.encode(), b"3.7", 1)

    ran = stage.run(payload.Input(lines, made.views), "-I", "-S")

    told = str(error_of(ran.error))
    assert "Python 3.7" in told
    assert f"the job runs Python {payload.VERSION}" in told
    assert sys.executable in told


@pytest.mark.parametrize("version", [version for version in OTHERS if version != payload.VERSION])
def test_it_begins_from_python_3_8_on(stage: Stage, version: str) -> None:
    """Only the refusal can be seen there: the bytecode of functions is each version's own."""
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip(f"there is no Python {version} here")

    ran = stage.run(payload.call_input(double, (1,), {}), "-I", "-S", python=python)

    assert ran.code == 1
    assert f"the job runs Python {version} (" in str(error_of(ran.error))


def test_its_words_are_those_of_python_3_8() -> None:
    for file in Path(tree.__file__).with_name("travelling").glob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 8))


def test_the_tree_is_the_same_each_time(tmp_path: Path) -> None:
    first = runner_tree(tmp_path / "cache")
    runner_tree.cache_clear()

    assert runner_tree(tmp_path / "cache") == first


def test_what_travels_is_found_by_the_runner_alone(stage: Stage) -> None:
    def look():
        import importlib.util

        return importlib.util.find_spec("shore_pool")

    assert stage.call(look).value is None


# maps


def items(stage: Stage, function, arguments, **more):
    made, _ = payload.map_input(function, ((one,) for one in arguments), more.pop("tasks", one_task))
    return stage.run(made, "-I", "-S", **more)


def outcomes(ran) -> dict:
    return {record.item: loaded(record) for record in ran.records if record.kind in ("value", "error")}


@pytest.mark.parametrize("cpus", ["1", "3"])
def test_a_map_runs_every_item(stage: Stage, cpus: str) -> None:
    ran = items(stage, double, range(100), env={"SHOREPOWER_CPUS": cpus})

    assert ran.code == 0
    assert {item: known.value for item, known in outcomes(ran).items()} == {n: 2 * n for n in range(100)}


def test_tasks_share_the_items(stage: Stage) -> None:
    for index in range(3):
        env = {"SHOREPOWER_TASK_INDEX": str(index)}
        ran = items(stage, double, range(10), tasks=lambda count: 3, env=env)
        assert max(outcomes(ran)) == [3, 6, 9][index]

    assert sorted(outcomes(ran)) == list(range(10))


def test_failures_of_a_map_are_its_own(stage: Stage) -> None:
    def fragile(value):
        if value == 3:
            raise ValueError(value)
        if value == 5:
            os._exit(9)
        if value == 7:
            os.kill(os.getpid(), 9)
        if value == 8:
            sys.exit(1)
        return value

    ran = items(stage, fragile, range(10), env={"SHOREPOWER_CPUS": "2"})
    known = outcomes(ran)

    assert ran.code == 1
    assert [item for item in range(10) if known[item].error is None] == [0, 1, 2, 4, 6, 9]
    assert isinstance(known[3].error, ValueError)
    assert "exit 9" in str(known[5].error)
    assert "signal 9" in str(known[7].error)


def test_a_map_goes_on_where_it_was(stage: Stage) -> None:
    ran = items(stage, double, range(20))
    lines = stage.log.read_bytes()
    stage.log.write_bytes(lines[: len(lines) * 2 // 3])

    again = items(stage, double, range(20))

    assert {item: known.value for item, known in outcomes(again).items()} == {n: 2 * n for n in range(20)}
    assert len(again.records) == len(ran.records)


def test_a_function_that_cannot_be_loaded_fails_its_whole_task(stage: Stage) -> None:
    broken = Unloadable()

    ran = items(stage, broken, range(3))

    assert ran.code == 1
    assert ran.error.item == -1


class Unloadable:
    def __call__(self, value):
        return value

    def __reduce__(self):
        return fail, (RuntimeError("not here"),)


def test_threads_are_not_multiplied_by_processes(stage: Stage) -> None:
    def cap(_):
        return os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]

    env = {"SHOREPOWER_CPUS": "2", "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "7"}

    assert outcomes(items(stage, cap, range(4), env=env))[0].value == ("1", "7")


def test_no_op_items_are_quick(stage: Stage) -> None:
    began = time.perf_counter()
    ran = items(stage, double, range(5000), env={"SHOREPOWER_CPUS": "2"})
    took = time.perf_counter() - began

    assert len(ran.records) == 5000
    assert took < 10  # about 0.5 s where nothing else goes on
