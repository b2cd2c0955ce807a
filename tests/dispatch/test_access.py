"""Whose a job is, and which one a name means. Every method of the dispatcher is here, or this fails."""

import inspect
from collections.abc import AsyncIterator

import pytest

from shorepower.dispatch.dispatcher import Dispatcher, JobFilter, TaskFilter
from shorepower.dispatch.fetch import FileAsked
from shorepower.model.caller import Caller, Scope
from shorepower.model.errors import Ambiguous, InvalidRequest, NotAllowed, NotFound
from shorepower.model.lifecycle import Operation, State
from support.dispatching import ALICE, BOB, READER, SUBMITTER, a_spec

pytestmark = pytest.mark.anyio

# What a caller can ask of one job, by the name of the method.
ABOUT_A_JOB = {
    "job": lambda d, job, who: d.job(job, who),
    "spec": lambda d, job, who: d.spec(job, who),
    "attempts": lambda d, job, who: d.attempts(job, who),
    "tasks": lambda d, job, who: d.tasks(job, TaskFilter(), who),
    "control": lambda d, job, who: d.control(job, Operation.STOP, who),
    "output": lambda d, job, who: d.output(job, who),
    "follow": lambda d, job, who: d.follow(job, who),
    "events": lambda d, job, who: d.events(who, after=0, job=job),
    "files": lambda d, job, who: d.files(job, who),
    "read_file": lambda d, job, who: d.read_file(job, b"out", "project", who),
    "read_values": lambda d, job, who: d.read_values(job, who, {}),
    "read_files": lambda d, job, who: d.read_files(job, [FileAsked(path=b"out")], who),
    "mark_pulled": lambda d, job, who: d.mark_pulled(job, who),
    "keep": lambda d, job, who: d.keep(job, None, who),
}
# What is about no job, and shows or touches the caller's own only; each has its test elsewhere.
OF_THE_CALLER = {
    "submit",
    "jobs",
    "missing_blobs",
    "put_blobs",
    "get_blob",
    "prune",
    "expiring",
    "warned",
    "footprint",
    "create_token",
    "tokens",
    "revoke_token",
    "look",
}
# What anybody who is known may ask.
FOR_ALL = {"clusters"}
# What is not about a caller.
OF_THE_SERVER = {"run", "authenticate", "counts", "idle_for_s"}

CHANGES = {"control", "mark_pulled", "keep"}


def _public() -> set[str]:
    return {
        name for name, _ in inspect.getmembers(Dispatcher, inspect.isfunction) if not name.startswith("_")
    }


def test_every_method_is_covered():
    known = set(ABOUT_A_JOB) | OF_THE_CALLER | FOR_ALL | OF_THE_SERVER
    assert _public() == known


def test_every_method_that_is_not_the_servers_takes_the_caller():
    for name in _public() - OF_THE_SERVER:
        assert "caller" in inspect.signature(getattr(Dispatcher, name)).parameters, name


@pytest.fixture
async def living(bench, cluster):
    """A dispatcher and a running job of alice, named ``fit``."""
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec("fit"), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        cluster.see(f"{job.id}-1", State.RUNNING)
        yield dispatcher, await bench.until(job, lambda job: job.state is State.RUNNING)


async def _call(method, dispatcher, name, caller):
    found = ABOUT_A_JOB[method](dispatcher, name, caller)
    if isinstance(found, AsyncIterator):
        async for piece in found:
            return piece
        return None
    return await found


@pytest.mark.parametrize("method", ABOUT_A_JOB)
@pytest.mark.parametrize("form", ["id", "prefix", "@name", "@-1"])
@pytest.mark.parametrize("scope", list(Scope))
async def test_anothers_job_is_not_found_in_any_form(living, method, form, scope):
    dispatcher, job = living
    name = {"id": job.id, "prefix": job.id[:6], "@name": "@fit", "@-1": "@-1"}[form]
    stranger = Caller(user="bob", scope=scope)
    with pytest.raises((NotFound, NotAllowed)) as told:
        await _call(method, dispatcher, name, stranger)
    if scope is Scope.FULL:
        assert isinstance(told.value, NotFound)
    assert "alice" not in str(told.value)


@pytest.mark.parametrize("method", ABOUT_A_JOB)
async def test_what_does_not_exist_is_told_in_the_same_words(living, method):
    dispatcher, job = living
    told = []
    for name, caller in ((job.id, BOB), ("zzzzzzzzzzzz", BOB)):
        with pytest.raises(NotFound) as refusal:
            await _call(method, dispatcher, name, caller)
        told.append(str(refusal.value).replace(name, "X"))
    assert told[0] == told[1]


@pytest.mark.parametrize("caller", [READER, SUBMITTER])
@pytest.mark.parametrize("method", sorted(CHANGES))
async def test_a_lesser_scope_changes_nothing(living, method, caller):
    dispatcher, job = living
    with pytest.raises(NotAllowed):
        await _call(method, dispatcher, job.id, caller)
    assert (await dispatcher.job(job.id, ALICE)) == job


STREAMS = {"read_file", "read_files", "output", "follow"}


@pytest.mark.parametrize("method", sorted(set(ABOUT_A_JOB) - CHANGES - STREAMS))
async def test_a_reader_may_look(living, method):
    dispatcher, job = living
    await _call(method, dispatcher, job.id, READER)


async def test_lists_hold_ones_own(living):
    dispatcher, job = living
    theirs, _ = await dispatcher.submit(a_spec("fit"), BOB)
    assert [one.id for one in (await dispatcher.jobs(JobFilter(), ALICE))[0]] == [job.id]
    assert [one.id for one in (await dispatcher.jobs(JobFilter(name="fit"), BOB))[0]] == [theirs.id]
    assert (await dispatcher.jobs(JobFilter(cursor="99999"), BOB))[0] == [theirs]


async def test_blobs_are_ones_own(living):
    from shorepower.model.tree import digest_of

    dispatcher, _ = living
    data = b"of alice"
    await dispatcher.put_blobs([(digest_of(data), data)], ALICE)
    assert await dispatcher.get_blob(digest_of(data), ALICE) == data
    assert await dispatcher.missing_blobs([digest_of(data)], BOB) == [digest_of(data)]
    with pytest.raises(NotFound):
        await dispatcher.get_blob(digest_of(data), BOB)
    with pytest.raises(NotAllowed):
        await dispatcher.put_blobs([(digest_of(data), data)], READER)


# names


async def test_a_name_means_the_newest_and_counts_back(bench):
    dispatcher = bench.dispatcher()
    ids = [(await bench.dispatcher()._intake.submit(
        a_spec("fit"), ALICE, bench_infos(dispatcher), key=None, secrets={}
    ))[0].id for _ in range(3)]  # fmt: skip
    assert (await dispatcher.job("@fit", ALICE)).id == ids[2]
    assert [(await dispatcher.job(f"@-{back}", ALICE)).id for back in (1, 2, 3)] == ids[::-1]
    with pytest.raises(NotFound, match="you have 3 jobs, so no @-4"):
        await dispatcher.job("@-4", ALICE)
    with pytest.raises(NotFound, match="no job of yours has the name 'other'"):
        await dispatcher.job("@other", ALICE)


async def test_a_prefix_must_fit_one(bench):
    dispatcher = bench.dispatcher()
    ids = [(await dispatcher._intake.submit(
        a_spec(), ALICE, bench_infos(dispatcher), key=None, secrets={}
    ))[0].id for _ in range(60)]  # fmt: skip
    by_letter: dict[str, list[str]] = {}
    for one in ids:
        by_letter.setdefault(one[0], []).append(one)
    letter, several = next((letter, some) for letter, some in by_letter.items() if len(some) > 1)
    with pytest.raises(Ambiguous) as told:
        await dispatcher.job(letter, ALICE)
    assert set(told.value.fits) <= set(several)
    assert (await dispatcher.job(several[0][:11], ALICE)).id == several[0]


@pytest.mark.parametrize(
    "name", ["", " ", "A", "1", "a b", "../x", "@-0", "a" * 13, "abcdefghijk!", "\0", "é", "-1", "%", "_"]
)
async def test_nonsense_names_no_job(living, name):
    dispatcher, _ = living
    with pytest.raises((InvalidRequest, NotFound)):
        await dispatcher.job(name, ALICE)


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "", "9" * 40, "²"])
async def test_a_bad_cursor_of_a_list_is_told(living, cursor):
    dispatcher, _ = living
    with pytest.raises(InvalidRequest, match="no cursor of ours"):
        await dispatcher.jobs(JobFilter(cursor=cursor), ALICE)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_has_bounds(living, limit):
    dispatcher, _ = living
    with pytest.raises(InvalidRequest, match="1 to 1000"):
        await dispatcher.jobs(JobFilter(limit=limit), ALICE)


async def test_pages_follow_each_other_without_a_job_twice(bench):
    dispatcher = bench.dispatcher()
    ids = [(await dispatcher._intake.submit(
        a_spec(), ALICE, bench_infos(dispatcher), key=None, secrets={}
    ))[0].id for _ in range(10)]  # fmt: skip
    seen, cursor = [], None
    while True:
        page, cursor = await dispatcher.jobs(JobFilter(cursor=cursor, limit=3), ALICE)
        seen += [job.id for job in page]
        if cursor is None:
            break
    assert seen == ids[::-1]


def bench_infos(dispatcher):
    return dispatcher._standing.infos
