import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shorepower.clusters.local.line import why_waiting
from shorepower.clusters.local.machine import Gpu, Machine
from shorepower.clusters.local.queue import LOOK_AHEAD, Demand, Queue, demand_of
from shorepower.model.lifecycle import Reason
from shorepower.model.resources import Resources

MACHINE = Machine(cpu_count=4, memory_mib=1000, gpus=(Gpu("0", "a100"), Gpu("1", "a100"), Gpu("2", "t4")))


def cpus(count, **more):
    return Demand(cpus_milli=int(count * 1000), **more)


def start_all(queue, now=0.0):
    started = {}
    while (taken := queue.take(now)) is not None:
        started[taken[0]] = taken[1]
    return started


@pytest.mark.parametrize(
    ("asked", "machine_cpus", "counts"),
    [
        (Resources(), 4, Demand(1000)),
        (Resources(), 0.5, Demand(500)),
        (Resources(memory_mib=10), 4, Demand(1000, 10)),
        (Resources(cpu_count=0.25), 4, Demand(250)),
        (Resources(cpu_count=2, gpu_count=1, gpu_type="t4"), 4, Demand(2000, 0, 1, "t4")),
        (Resources(gpu_type="t4"), 4, Demand(1000)),
    ],
)
def test_what_an_order_counts_as(asked, machine_cpus, counts):
    assert demand_of(asked, Machine(cpu_count=machine_cpus, memory_mib=100)) == counts


def test_in_order_while_all_fit():
    queue = Queue(MACHINE)
    for name in "abcdef":
        queue.add(name, cpus(1))
    assert list(start_all(queue)) == ["a", "b", "c", "d"]
    assert [waiting.name for waiting in queue.first(10)] == ["e", "f"]


def test_tenths_of_cpus_add_up():
    queue = Queue(Machine(cpu_count=1, memory_mib=0))
    for number in range(11):
        queue.add(str(number), cpus(0.1))
    assert len(start_all(queue)) == 10


def test_small_ones_pass_a_big_one_until_its_patience_is_over():
    queue = Queue(MACHINE, patience_s=100)
    queue.add("running", cpus(2))
    grant = start_all(queue)["running"]
    queue.add("big", cpus(4))
    queue.add("small", cpus(1))
    assert list(start_all(queue, now=10)) == ["small"]
    queue.add("later", cpus(1))
    assert list(start_all(queue, now=109)) == ["later"]
    queue.give_back(grant)
    queue.add("too late", cpus(1))
    assert start_all(queue, now=110) == {}
    assert [waiting.name for waiting in queue.first(9)] == ["big", "too late"]
    queue.give_back(queue.hold(cpus(0)))
    for _ in range(2):
        queue.give_back(type(grant)(cpus(1)))
    assert list(start_all(queue, now=111)) == ["big"]
    assert start_all(queue, now=111) == {}


def test_nobody_loses_patience_who_was_not_passed():
    queue = Queue(MACHINE, patience_s=100)
    queue.add("running", cpus(4))
    start_all(queue)
    queue.add("big", cpus(3))
    assert start_all(queue, now=1000) == {}
    queue.add("small", cpus(1))
    queue.give_back(type(queue.hold(cpus(0)))(cpus(1)))
    assert list(start_all(queue, now=2000)) == ["small"]


def test_more_than_the_machine_waits_aside_and_holds_up_nobody():
    queue = Queue(MACHINE, patience_s=0)
    queue.add("monster", cpus(5))
    queue.add("fine", cpus(1))
    assert list(start_all(queue, now=9)) == ["fine"]
    (waiting,) = queue.first(10)
    assert waiting.never
    assert why_waiting(waiting) == (
        Reason.RESOURCES,
        "it asks 5 cpus; this machine has 4, so it cannot start here",
    )
    assert queue.remove("monster")
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (cpus(4.5), "asks 4.5 cpus; this machine has 4"),
        (cpus(1, memory_mib=2048), "asks 2 GiB of memory; this machine has 1000 MiB for jobs"),
        (cpus(1, gpu_count=4), "asks 4 GPUs; this machine has 3"),
        (cpus(1, gpu_count=2, gpu_type="t4"), "asks 2 GPUs of type t4; this machine has 1"),
        (cpus(4, memory_mib=1000, gpu_count=3), ""),
    ],
)
def test_what_the_machine_lacks_is_said(demand, words):
    assert Queue(MACHINE).lacks(demand) == words


def test_gpus_are_given_out_once_and_come_back():
    queue = Queue(MACHINE)
    queue.add("two", cpus(1, gpu_count=2, gpu_type="a100"))
    queue.add("any", cpus(1, gpu_count=1))
    queue.add("none", cpus(1, gpu_count=1))
    started = start_all(queue)
    assert {name: grant.gpus for name, grant in started.items()} == {"two": ("0", "1"), "any": ("2",)}
    queue.give_back(started["two"])
    queue.give_back(started["two"])
    assert start_all(queue)["none"].gpus == ("0",)
    adopted = Queue(MACHINE)
    adopted.hold(cpus(1, gpu_count=1), ("1",))
    adopted.add("next", cpus(1, gpu_count=2))
    assert start_all(adopted)["next"].gpus == ("0", "2")


def test_the_sentence_tells_the_place_and_what_is_missing():
    queue = Queue(MACHINE)
    queue.add("running", cpus(3, memory_mib=900))
    start_all(queue)
    queue.add("first", cpus(4))
    queue.add("second", cpus(1, memory_mib=512))
    queue.add("third", cpus(1))
    assert [why_waiting(one) for one in queue.first(2)] == [
        (Reason.RESOURCES, "next in line; needs 4 cpus (1 of 4 free)"),
        (Reason.RESOURCES, "number 2 in line; needs 512 MiB of memory (100 MiB free)"),
    ]
    assert why_waiting(queue.first(3)[2]) == (Reason.QUEUED, "number 3 in line")


def test_the_work_of_a_start_does_not_grow_with_the_line(monkeypatch):
    looked = []
    real = Queue._fits
    monkeypatch.setattr(Queue, "_fits", lambda self, demand: looked.append(1) or real(self, demand))
    queue = Queue(Machine(cpu_count=1000, memory_mib=10**6))
    queue.hold(cpus(999))
    for number in range(5000):
        queue.add(f"same-{number}", cpus(2))
        queue.add(f"other-{number}", cpus(2, memory_mib=number))
    queue.add("fits", cpus(1))
    looked.clear()
    assert queue.take(0) is None
    assert len(looked) == LOOK_AHEAD
    queue.give_back(type(queue.hold(cpus(0)))(cpus(500)))
    looked.clear()
    assert len(start_all(queue)) == 250
    assert len(looked) <= 250 + LOOK_AHEAD


DEMANDS = st.builds(
    Demand,
    cpus_milli=st.integers(1, 40).map(lambda tenths: tenths * 100),
    memory_mib=st.sampled_from([0, 100, 500, 1000]),
    gpu_count=st.integers(0, 3),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), DEMANDS),
        st.tuples(st.just("remove"), st.integers(0, 30)),
        st.tuples(st.just("end"), st.integers(0, 30)),
        st.tuples(st.just("take"), st.integers(0, 50)),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(STEPS)
def test_never_more_than_the_machine_never_twice_never_forgotten(steps):
    queue, now = Queue(MACHINE, patience_s=100), 0.0
    waiting, running, done = {}, {}, set()
    for number, (step, value) in enumerate(steps):
        if step == "add":
            queue.add(f"j{number}", value)
            waiting[f"j{number}"] = value
        elif step == "remove" and f"j{value}" in waiting:
            assert queue.remove(f"j{value}")
            assert not queue.remove(f"j{value}")
            done.add(f"j{value}")
            del waiting[f"j{value}"]
        elif step == "end" and f"j{value}" in running:
            queue.give_back(running.pop(f"j{value}"))
            done.add(f"j{value}")
        elif step == "take":
            now += value
            taken = queue.take(now)
            if taken is not None:
                name, grant = taken
                assert grant.demand == waiting.pop(name)
                assert name not in running
                assert name not in done
                running[name] = grant
        assert sum(grant.demand.cpus_milli for grant in running.values()) <= 4000
        assert sum(grant.demand.memory_mib for grant in running.values()) <= 1000
        gpus = [gpu for grant in running.values() for gpu in grant.gpus]
        assert len(gpus) == len(set(gpus)) == sum(g.demand.gpu_count for g in running.values())
        assert len(queue) == len(waiting)
        assert [one.name for one in queue.first(99)] == list(waiting)
    for name in list(running):
        queue.give_back(running.pop(name))
    while waiting:  # whoever waits starts sooner or later
        now += 50
        name, grant = queue.take(now)
        del waiting[name]
        queue.give_back(grant)
    assert (queue.cpus_free, queue.memory_free_mib) == (4000, 1000)
