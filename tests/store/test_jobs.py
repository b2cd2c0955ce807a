"""Jobs go in, move and go away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shorepower.model.errors import Conflict, NotFound
from shorepower.model.job import Job, JobSpec, Link, Origin, Progress
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.resources import Resources
from shorepower.model.results import ResultsState, ResultsSummary
from shorepower.model.tasks import ONE_TASK
from shorepower.model.usage import Usage
from shorepower.store.contract import BlobOwner, JobQuery, Snapshot, Store, Transaction
from support.store_records import NOW, after, insert, job, spec, submission, submit

pytestmark = pytest.mark.anyio


def full_job(**given: object) -> Job:
    """A job in which no field has its default."""
    known: dict[str, object] = {
        "queue": "long",
        "name": "Übung 'ä' \U0001f600\n2",
        "script": "über/train.R",
        "state": State.FAILED,
        "reason": Reason.OUT_OF_MEMORY,
        "why": "it needed more than 8 GiB",
        "started_at": after(1.000001),
        "ended_at": after(2),
        "exit_code": 137,
        "signal": 9,
        "exit_status": 137,
        "attempt": 2,
        "restart": 3,
        "host": "node7",
        "resources": Resources(
            cpu_count=0.5, memory_mib=8192, gpu_count=1, gpu_type="a100", wall_time_s=60
        ),
        "tags": {"paper": "p1", "": "empty key", "größe": "ß"},
        "task_count": 3,
        "counts": {State.FAILED: 2, State.COMPLETED: 1},
        "usage": Usage(
            wall_time_s=1.5, cpu_time_s=0.1, peak_memory_mib=7.25, memory_mib=1.0, process_count=2
        ),
        "progress": Progress(fraction=0.42, text="epoch 3", at=after(1.5)),
        "results": ResultsSummary(
            state=ResultsState.PARTIAL,
            file_count=3,
            size_bytes=10**12,
            why="one could not be read",
            expires_at=after(10**6),
            pulled_at=after(5),
            warned_at=after(6),
        ),
        "project": "/home/ada/analysis",
        "origin": Origin(host="laptop", directory="/home/ada/analysis"),
        "wanted": Operation.STOP,
        "stale_since": after(3),
    }
    return job(**(known | given))


async def test_a_job_comes_back_as_it_went_in(store: Store) -> None:
    given = full_job()
    asked = spec(
        env={"A": "1", "LEER": ""},
        tree="sha256:00",
        stdin=("sha256:01",),
        links=(Link(path=".venv", target="/v"),),
        tags=given.tags,
    )
    await store.write(lambda tx: tx.insert_job(given, asked))
    assert await store.read(lambda view: view.job(given.id)) == given
    assert await store.read(lambda view: view.spec(given.id)) == asked
    assert await store.read(lambda view: view.jobs(JobQuery())) == [(1, given)]


async def test_a_plain_job_comes_back_as_it_went_in(store: Store) -> None:
    given = job()
    await store.write(lambda tx: insert(tx, given))
    assert await store.read(lambda view: view.job(given.id)) == given


async def test_what_is_not_there_is_none(store: Store) -> None:
    def look(view: Snapshot) -> list[object]:
        return [
            view.job("nothing"),
            view.spec("nothing"),
            view.keyed("ada", "k"),
            view.submission("nothing-1"),
            view.attempt("nothing", 0, 1),
            view.token(b"nothing"),
            view.results_listing("nothing"),
        ]

    assert await store.read(look) == [None] * 7


async def test_every_field_but_three_may_change_and_the_revision_grows(store: Store) -> None:
    first = job()
    await store.write(lambda tx: insert(tx, first))
    second = full_job(id=first.id)
    told = await store.write(lambda tx: tx.update_job(second))
    assert told.revision == first.revision + 1
    assert await store.read(lambda view: view.job(first.id)) == told
    back = await store.write(lambda tx: tx.update_job(first))
    assert back.revision == first.revision + 2, "counts on from the one on record, not from the one given"
    assert await store.read(lambda view: view.job(first.id)) == back
    assert await store.read(lambda view: view.jobs(JobQuery(owner="ada", tags={"paper": "p1"}))) == []


async def test_an_update_of_nothing_or_of_the_owner_is_refused(store: Store) -> None:
    known = await store.write(insert)
    with pytest.raises(NotFound, match="no job"):
        await store.write(lambda tx: tx.update_job(job()))
    with pytest.raises(ValueError, match="cannot change"):
        await store.write(lambda tx: tx.update_job(job(id=known.id, owner="bob")))
    assert await store.read(lambda view: view.job(known.id)) == known


async def test_a_key_names_one_job_of_one_owner(store: Store) -> None:
    first, other = job(), job(owner="bob")
    await store.write(lambda tx: tx.insert_job(first, spec(), key="k", body_digest=b"\x00digest"))
    await store.write(lambda tx: tx.insert_job(other, spec(), key="k", body_digest=b"other"))
    assert await store.read(lambda view: view.keyed("ada", "k")) == (first.id, b"\x00digest")
    assert await store.read(lambda view: view.keyed("bob", "k")) == (other.id, b"other")
    with pytest.raises(Conflict, match="'k'"):
        await store.write(lambda tx: tx.insert_job(job(), spec(), key="k"))
    assert await store.read(lambda view: view.state_counts()) == {State.PENDING: 2}


async def test_an_id_is_taken_once(store: Store) -> None:
    known = await store.write(insert)
    with pytest.raises(Conflict, match=known.id):
        await store.write(lambda tx: insert(tx, job(id=known.id, owner="bob")))
    assert await store.read(lambda view: view.job(known.id)) == known


async def test_ids_are_found_by_their_beginning(store: Store) -> None:
    def fill(tx: Transaction) -> None:
        for one in ("aaaaaaaaaaaa", "aaabbbbbbbbb", "aab222222222", "b77777777777"):
            insert(tx, id=one)
        insert(tx, id="aaaccccccccc", owner="bob")

    await store.write(fill)
    assert await store.read(lambda view: view.job_ids("ada", "aaa")) == ["aaaaaaaaaaaa", "aaabbbbbbbbb"]
    assert await store.read(lambda view: view.job_ids("ada", "aaab")) == ["aaabbbbbbbbb"]
    assert await store.read(lambda view: view.job_ids(None, "aaa")) == [
        "aaaaaaaaaaaa",
        "aaabbbbbbbbb",
        "aaaccccccccc",
    ]
    assert await store.read(lambda view: view.job_ids("ada", "", 3)) == [
        "aaaaaaaaaaaa",
        "aaabbbbbbbbb",
        "aab222222222",
    ]
    assert await store.read(lambda view: view.job_ids("ada", "a%")) == []


async def test_a_deleted_job_leaves_nothing_behind(memory: Store) -> None:
    def fill(tx: Transaction) -> Job:
        kept = submit(tx, tags={"a": "b"})
        tx.put_control(kept.id, Operation.STOP, "ada", NOW)
        tx.put_results_listing(kept.id, b"[]")
        tx.put_task_letters(kept.id, {0: b"P"})
        tx.put_task_figures(kept.id, {0: b"P"})
        tx.put_task_metrics(kept.id, {0: b"{}"})
        tx.put_task_control(kept.id, Operation.STOP, ONE_TASK, "ada", NOW)
        return kept

    def hang_more(tx: Transaction) -> None:
        """The tables that nothing in the contract writes yet hang on the job as well."""
        run = tx._run  # type: ignore[attr-defined]
        run(
            "INSERT INTO grants (owner, job, grantee, allows, granted_at)"
            " SELECT 'ada', seq, 'bob', 'see', 0 FROM jobs"
        )
        run(
            "INSERT INTO dependencies (submission, after_job, wants) SELECT seq, 'x', 'ok' FROM submissions"
        )

    def rows(view: Snapshot) -> dict[str, int]:
        run = view._run  # type: ignore[attr-defined]
        tables = [name for (name,) in run("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        kept = {"sqlite_sequence", "schema_versions", "totals", "job_counts"}
        return {
            t: run(f"SELECT count(*) FROM {t}")[0][0] for t in tables if t not in kept and "stat" not in t
        }

    one = await memory.write(fill)
    await memory.write(hang_more)
    key = job(owner="ada")
    await memory.write(lambda tx: tx.insert_job(key, spec(tree="sha256:1"), key="k", body_digest=b"d"))
    before = await memory.read(rows)
    assert {name for name, count in before.items() if not count} == {
        "audit",
        "blob_leases",
        "blob_owners",
        "blobs",
        "callers",
        "leases",
        "tokens",
    }, "every table that can hang on a job is filled"
    await memory.write(lambda tx: tx.delete_job(one.id))
    await memory.write(lambda tx: tx.delete_job(key.id))
    assert set((await memory.read(rows)).values()) == {0}
    assert await memory.read(lambda view: view.state_counts()) == {}
    await memory.write(lambda tx: tx.delete_job(one.id))


async def test_a_key_is_free_again_when_its_job_is_gone(store: Store) -> None:
    first = job()
    await store.write(lambda tx: tx.insert_job(first, spec(), key="k", body_digest=b"d"))
    await store.write(lambda tx: tx.delete_job(first.id))
    assert await store.read(lambda view: view.keyed("ada", "k")) is None
    await store.write(lambda tx: tx.insert_job(job(), spec(), key="k", body_digest=b"d"))


async def test_sequence_numbers_are_not_used_twice(store: Store) -> None:
    newest = [await store.write(insert) for _ in range(3)][-1]
    await store.write(lambda tx: tx.delete_job(newest.id))
    await store.write(insert)
    assert [seq for seq, _ in await store.read(lambda view: view.jobs(JobQuery()))] == [4, 2, 1]


async def test_a_sentence_may_quote_a_name_that_is_not_utf8(store: Store) -> None:
    name = b"caf\xe9.csv".decode("utf-8", "surrogateescape")
    kept = await store.write(lambda tx: submit(tx, why=f"no {name}"))
    await store.write(lambda tx: tx.put_submission(submission(kept, why=f"no {name}")))
    await store.write(lambda tx: tx.append_event(NOW, "job.state", kept, {"why": [name]}))
    found = await store.read(lambda view: view.job(kept.id))
    assert found is not None
    assert found.why == "no caf\\xe9.csv"
    events = await store.read(lambda view: view.events(0))
    assert events[-1].body == {"why": ["caf\\xe9.csv"]}


async def test_jobs_that_ended_come_oldest_first_and_pages_leave_none_out(store: Store) -> None:
    def fill(tx: Transaction) -> list[str]:
        ends = [5, 1, 3, 3, 3, 2]
        made = [insert(tx, state=State.COMPLETED, ended_at=after(end)) for end in ends]
        insert(tx)
        return [one.id for one in made]

    five, one, three, three_too, three_again, two = await store.write(fill)
    threes = [three, three_too, three_again]
    assert [i for _, i in await store.read(lambda view: view.ended_before(after(4)))] == [one, two, *threes]
    assert await store.read(lambda view: view.ended_before(after(1))) == []
    page = await store.read(lambda view: view.ended_before(after(9), limit=3))
    assert page == [(after(1), one), (after(2), two), *((after(3), each) for each in threes)]
    rest = await store.read(lambda view: view.ended_before(after(9), after=page[-1][0], limit=3))
    assert rest == [(after(5), five)]


async def test_results_are_saved_kept_and_expire(store: Store) -> None:
    def fill(tx: Transaction) -> dict[str, Job]:
        def ended(at: int, state: ResultsState, expires: int | None = None, **given: object) -> Job:
            results = ResultsSummary(state=state, expires_at=None if expires is None else after(expires))
            return insert(tx, state=State.COMPLETED, ended_at=after(at), results=results, **given)

        return {
            "saving": ended(9, ResultsState.SAVING),
            "saving too": ended(8, ResultsState.SAVING),
            "ready": ended(1, ResultsState.READY, 20),
            "partial": ended(1, ResultsState.PARTIAL, 10, owner="bob"),
            "kept for good": ended(1, ResultsState.READY),
            "gone": ended(1, ResultsState.EXPIRED, 10),
            "living": insert(tx, results=ResultsSummary(expires_at=after(10))),
        }

    made = await store.write(fill)
    assert await store.read(lambda view: view.saving()) == [made["saving"].id, made["saving too"].id]
    assert await store.read(lambda view: view.saving(1)) == [made["saving"].id]
    assert await store.read(lambda view: view.with_results()) == [
        made["ready"],
        made["partial"],
        made["kept for good"],
    ]
    assert await store.read(lambda view: view.with_results("bob")) == [made["partial"]]
    assert await store.read(lambda view: view.expiring(after(20))) == [made["partial"]]
    assert await store.read(lambda view: view.expiring(after(21))) == [made["partial"], made["ready"]]
    assert await store.read(lambda view: view.expiring(after(21), 1)) == [made["partial"]]


async def test_unfetched_results_wait_for_a_warning_that_came_in_time(store: Store) -> None:
    def fill(tx: Transaction) -> dict[str, Job]:
        def ready(owner: str = "ada", **given: Any) -> Job:
            told = {"state": ResultsState.READY, "file_count": 1, "expires_at": after(100)} | given
            results = ResultsSummary(**told)
            return insert(tx, owner=owner, state=State.COMPLETED, ended_at=after(1), results=results)

        return {
            "fetched": ready(pulled_at=after(2)),
            "empty": ready(file_count=0),
            "warned": ready(warned_at=after(90)),
            "warned too early": ready(warned_at=after(89), expires_at=after(101)),
            "unwarned": ready(expires_at=after(99)),
            "of another": ready("bob"),
            "for good": ready(expires_at=None),
        }

    made = await store.write(fill)
    notice = timedelta(seconds=10)

    async def going(unwarned: float) -> list[str]:
        found = await store.read(
            lambda view: view.expiring(after(200), notice=notice, unwarned=after(unwarned))
        )
        return [name for name, job in made.items() if job in found]

    assert await going(99) == ["fetched", "empty", "warned"]
    assert await going(100) == ["fetched", "empty", "warned", "unwarned"]
    assert await going(102) == [name for name in made if name != "for good"]
    assert await store.read(lambda view: view.unfetched("ada", after(101))) == [
        made["unwarned"],
        made["warned"],
    ]


async def test_a_listing_is_kept_replaced_and_dropped(store: Store) -> None:
    kept = await store.write(insert)
    for listing in (b"\x00one", b"two" * 100_000, None, None):
        await store.write(lambda tx, listing=listing: tx.put_results_listing(kept.id, listing))
        assert await store.read(lambda view: view.results_listing(kept.id)) == listing
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.put_results_listing("nothing", b"x"))


async def test_snapshots_of_living_and_unexpired_jobs_are_held(store: Store) -> None:
    def fill(tx: Transaction) -> list[Job]:
        def with_tree(tree: str, **given: object) -> Job:
            kept = job(**given)
            asked: JobSpec = spec(tree=tree, stdin=(f"in {tree}", tree))
            tx.insert_job(kept, asked)
            return kept

        expired = ResultsSummary(state=ResultsState.EXPIRED)
        return [
            with_tree("living"),
            with_tree("ended", state=State.COMPLETED, ended_at=NOW),
            with_tree("expired", state=State.COMPLETED, ended_at=NOW, results=expired),
            with_tree("expired but living", results=expired),
        ]

    await store.write(fill)
    held = {"living", "ended", "expired but living"}
    assert await store.read(lambda view: view.trees()) == held | {f"in {tree}" for tree in held}


async def test_blobs_that_nobody_needs(store: Store) -> None:
    def fill(tx: Transaction) -> None:
        for number in range(6):
            tx.put_blob(BlobOwner(owner="ada", digest=f"b{number}", size_bytes=10, used_at=after(number)))
        tx.lease_blobs("ada", ["b1", "unknown"], after(100))
        tx.lease_blobs("ada", ["b1"], after(1))
        tx.insert_job(job(), spec(tree="b2"))
        tx.insert_job(job(state=State.COMPLETED, ended_at=NOW), spec(tree="b3"))

    await store.write(fill)
    assert await store.read(lambda view: view.blobs_unused_since(after(5))) == ["b0", "b3", "b4"]
    assert await store.read(lambda view: view.blobs_unused_since(after(5), 1)) == ["b0"]
    assert await store.read(lambda view: view.blobs_unused_since(after(100))) == [
        "b0",
        "b1",
        "b3",
        "b4",
        "b5",
    ]
