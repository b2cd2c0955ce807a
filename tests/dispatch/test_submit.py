"""A job goes in once, whole, or not at all with every reason why."""

import json
import os
import stat

import anyio
import pytest
from msgspec.structs import replace

from shorepower.model.errors import Conflict, InvalidRequest, NotAllowed, StorageFault, SubmitRefused
from shorepower.model.job import is_job_id
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.resources import Resources
from shorepower.model.tree import TreeEntry, digest_of, encode_tree
from shorepower.store.sqlite import open_store
from support.dispatching import ALICE, BOB, READER, SUBMITTER, Bench, a_spec, eventually
from support.scripted import ScriptedCluster

pytestmark = pytest.mark.anyio


async def test_a_submit_is_recorded_whole(bench):
    async with bench.running() as dispatcher:
        job, new = await dispatcher.submit(a_spec("fit", tags={"model": "a"}), ALICE, key="k")
        assert new
        assert is_job_id(job.id)
        assert (job.state, job.reason, job.owner, job.name) == (
            State.PENDING,
            Reason.QUEUED,
            "alice",
            "fit",
        )
        assert await dispatcher.job(job.id, ALICE) == await bench.stands(job)
        assert await dispatcher.spec(job.id, ALICE) == a_spec("fit", tags={"model": "a"})
        (attempt,) = await dispatcher.attempts(job.id, ALICE)
        assert (attempt.number, attempt.submission) == (1, f"{job.id}-1")


async def test_the_same_key_is_the_same_job(bench):
    async with bench.running() as dispatcher:
        first, new = await dispatcher.submit(a_spec(), ALICE, key="k")
        again, new_again = await dispatcher.submit(a_spec(), ALICE, key="k")
        assert (new, new_again) == (True, False)
        assert again.id == first.id


async def test_a_key_belongs_to_one_user(bench):
    async with bench.running() as dispatcher:
        mine, _ = await dispatcher.submit(a_spec(), ALICE, key="k")
        theirs, new = await dispatcher.submit(a_spec("other"), BOB, key="k")
        assert new
        assert theirs.id != mine.id


async def test_a_key_with_another_body_is_a_conflict(bench):
    async with bench.running() as dispatcher:
        other = a_spec(argv=("false",), secrets=("S",))
        await dispatcher.submit(a_spec(secrets=("S",)), ALICE, key="k", secrets={"S": "1"})
        with pytest.raises(Conflict, match="'k' was used for job"):
            await dispatcher.submit(other, ALICE, key="k", secrets={"S": "1"})
        jobs = await bench.store.read(lambda view: view.state_counts())
        assert sum(jobs.values()) == 1


async def test_many_at_once_with_one_key_are_one_job(bench):
    ids = set()

    async def submit(dispatcher):
        job, _ = await dispatcher.submit(a_spec(secrets=("S",)), ALICE, key="k", secrets={"S": "x"})
        ids.add(job.id)

    async with bench.running() as dispatcher:
        async with anyio.create_task_group() as tg:
            for _ in range(20):
                tg.start_soon(submit, dispatcher)
        assert len(ids) == 1
        assert os.listdir(bench.places.secrets) == list(ids)


async def test_a_key_holds_after_the_end_and_across_a_reopened_store(tmp_path, clock):
    ids = []
    for _ in range(2):
        store = await open_store(tmp_path / "store.db")
        cluster = ScriptedCluster()
        bench = Bench(store, {"fake": cluster}, clock, tmp_path / "state")
        async with bench.running() as dispatcher:
            job, new = await dispatcher.submit(a_spec(), ALICE, key="k")
            ids.append((job.id, new))
            if new:
                await cluster.until(lambda: cluster.submitted)  # noqa: B023
                cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
                await bench.until(job, lambda job: job.state.ended)
            with pytest.raises(Conflict):
                await dispatcher.submit(a_spec("other"), ALICE, key="k")
        await store.aclose()
    assert ids == [(ids[0][0], True), (ids[0][0], False)]


async def test_a_key_is_answered_even_when_the_spec_would_not_be_taken_today(bench, cluster):
    async with bench.running() as dispatcher:
        spec = a_spec(resources=Resources(cpu_count=4))
        first, _ = await dispatcher.submit(spec, ALICE, key="k")
        cluster.about = replace(cluster.about, cpu_count=1)
        await eventually(lambda: dispatcher._standing.infos["fake"].cpu_count == 1)
        again, new = await dispatcher.submit(spec, ALICE, key="k")
        assert (again.id, new) == (first.id, False)


async def test_every_fault_is_told_at_once(bench):
    spec = a_spec(
        "",
        argv=("a\0b",),
        cluster="fakee",
        env={"A=B": "1", "C": "\0"},
        workdir="relative",
        grace_s=-1,
        umask=0o1000,
        secrets=("MISSING",),
    )
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest) as told:
            await dispatcher.submit(spec, ALICE, key="\n", secrets={"B=D": "\0"})
    fields = {fault.field for fault in told.value.faults}
    assert fields >= {
        "name", "argv", "cluster", "env.A=B", "env.C", "workdir", "grace_s", "umask", "secrets",
        "secrets.B=D", "Idempotency-Key",
    }  # fmt: skip
    assert "did you mean 'fake'" in str(told.value)
    assert await bench.store.read(lambda view: view.state_counts()) == {}


@pytest.mark.parametrize(
    ("resources", "field", "words"),
    [
        (Resources(cpu_count=5), "resources.cpu_count", "asked 5 cpus; cluster 'fake' has 4"),
        (Resources(memory_mib=8193), "resources.memory_mib", "has 8 GiB"),
        (Resources(gpu_count=1), "resources.gpu_count", "asked 1 GPU; cluster 'fake' has 0"),
        (Resources(wall_time_s=0), "resources.wall_time_s", "at least 1 second"),
    ],
)
async def test_more_than_there_is_is_refused_with_what_there_is(bench, resources, field, words):
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest, match=words) as told:
            await dispatcher.submit(a_spec(resources=resources), ALICE)
    assert [fault.field for fault in told.value.faults] == [field]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"within_s": 1e300}, "within_s"),
        ({"within_s": 0.0}, "within_s"),
        ({"within_s": -1.0}, "within_s"),
        ({"resources": Resources(wall_time_s=10**20)}, "resources.wall_time_s"),
        ({"v": 2}, "v"),
    ],
)
async def test_what_no_calendar_holds_is_refused(bench, more, field):
    """A moment beyond all calendars would end every later server at its start."""
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest) as told:
            await dispatcher.submit(a_spec(**more), ALICE)
    assert [fault.field for fault in told.value.faults] == [field]


@pytest.mark.parametrize(
    "more",
    [
        {"workdir": "/a\0b"},
        {"in_place": False, "workdir": "a\0b"},
        {"in_place": False, "workdir": "", "source_roots": ("a\0b",)},
    ],
)
async def test_no_path_holds_a_nul(bench, more):
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest, match="NUL"):
            await dispatcher.submit(a_spec(**more), ALICE)


@pytest.mark.parametrize("root", ["/etc", "a/../../b"])
async def test_source_roots_stay_inside_the_project(bench, root):
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest, match="inside the project"):
            await dispatcher.submit(a_spec(in_place=False, workdir="", source_roots=(root,)), ALICE)


async def test_a_readers_token_submits_nothing(bench):
    async with bench.running() as dispatcher:
        with pytest.raises(NotAllowed, match="'read'"):
            await dispatcher.submit(a_spec(), READER)
        job, _ = await dispatcher.submit(a_spec(), SUBMITTER)
        with pytest.raises(NotAllowed, match="'submit'"):
            await dispatcher.control(job.id, Operation.STOP, SUBMITTER)


async def test_a_project_must_be_there_whole(bench):
    data = b"x" * 10
    entry = TreeEntry(
        name=b"f", kind="file", mode=0o644, mtime_ns=0, size_bytes=10, digests=(digest_of(data),)
    )
    root = encode_tree([entry])
    spec = a_spec(in_place=False, workdir="", tree=digest_of(root))
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest, match="not sent yet") as told:
            await dispatcher.submit(spec, ALICE)
        assert [fault.field for fault in told.value.faults] == ["tree"]
        await dispatcher.put_blobs([(digest_of(root), root)], ALICE)
        with pytest.raises(InvalidRequest, match=digest_of(data)):
            await dispatcher.submit(spec, ALICE)
        await dispatcher.put_blobs([(digest_of(data), data)], ALICE)
        await dispatcher.submit(spec, ALICE)
        with pytest.raises(InvalidRequest, match="not sent yet"):
            await dispatcher.submit(spec, BOB)


async def test_a_blob_inside_a_project_must_be_the_callers_own(bench):
    """A digest may be used only by a user who has sent it."""
    data = b"alice's own"
    entry = TreeEntry(
        name=b"f", kind="file", mode=0o644, mtime_ns=0, size_bytes=len(data), digests=(digest_of(data),)
    )
    root = encode_tree([entry])
    spec = a_spec(in_place=False, workdir="", tree=digest_of(root))
    async with bench.running() as dispatcher:
        await dispatcher.put_blobs([(digest_of(data), data)], ALICE)
        await dispatcher.put_blobs([(digest_of(root), root)], BOB)
        with pytest.raises(InvalidRequest, match="not sent yet"):
            await dispatcher.submit(spec, BOB)


async def test_input_must_be_there(bench):
    data = b"input"
    spec = a_spec(stdin=(digest_of(data),))
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest, match="not sent yet"):
            await dispatcher.submit(spec, ALICE)
        await dispatcher.put_blobs([(digest_of(data), data)], ALICE)
        await dispatcher.submit(spec, ALICE)


# secrets


async def test_secrets_are_on_disk_before_the_acknowledgement(bench, monkeypatch):
    seen = []
    write = bench.store.write

    async def looking(unit):
        seen.extend((path.name, stat.S_IMODE(path.stat().st_mode)) for path in _secrets(bench))
        return await write(unit)

    async with bench.running() as dispatcher:
        monkeypatch.setattr(bench.store, "write", looking)
        job, _ = await dispatcher.submit(a_spec(secrets=("S",)), ALICE, secrets={"S": "geheim ü"})
        assert seen[0] == (job.id, 0o600)
        assert stat.S_IMODE(bench.places.secrets.stat().st_mode) == 0o700
        (file,) = _secrets(bench)
        assert json.loads(file.read_text()) == {"S": "geheim ü"}


async def test_no_secret_value_is_in_the_store(bench):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(secrets=("S",)), ALICE, key="k", secrets={"S": "geheim"})
        spec = await dispatcher.spec(job.id, ALICE)
        events, _ = await dispatcher.events(ALICE, after=0)
        assert "geheim" not in f"{spec} {job} {events}"


async def test_nothing_kept_tells_whether_a_guessed_secret_is_right(bench):
    async with bench.running() as dispatcher:
        spec = a_spec(secrets=("S",))
        first, _ = await dispatcher.submit(spec, ALICE, key="k", secrets={"S": "1"})
        again, new = await dispatcher.submit(spec, ALICE, key="k", secrets={"S": "2"})
        assert (again.id, new) == (first.id, False)


@pytest.mark.parametrize("how", ["end", "refusal", "stop", "kill while due", "found ended"])
async def test_secrets_go_at_the_end_however_it_comes(bench, cluster, how):
    if how == "refusal":
        cluster.submit_faults.append(SubmitRefused("no"))
    if how == "kill while due":
        bench.clusters["fake"] = cluster
        cluster.before_submit = lambda order: anyio.sleep_forever()
    async with bench.running() as dispatcher:
        if how == "kill while due":
            await dispatcher.submit(a_spec(), ALICE)  # holds the line up
            await cluster.until(lambda: cluster.submitted)
        job, _ = await dispatcher.submit(a_spec(secrets=("S",)), ALICE, secrets={"S": "x"})
        if how == "kill while due":
            await dispatcher.control(job.id, Operation.KILL, ALICE)
        elif how != "refusal":
            await cluster.until(lambda: cluster.submitted)
            assert [path.name for path in _secrets(bench)] == [job.id]
        if how in ("end", "stop"):
            state = State.COMPLETED if how == "end" else State.CANCELED
            cluster.see(f"{job.id}-1", state, exit_code=0)
        if how != "found ended":
            await bench.until(job, lambda job: job.state.ended)
            await eventually(lambda: not _secrets(bench))
    if how == "found ended":
        cluster.observation(f"{job.id}-1", State.COMPLETED, exit_code=0)
        async with bench.running():
            await eventually(lambda: not _secrets(bench))


async def test_secrets_of_nobody_are_swept_at_the_start_and_others_kept(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(secrets=("S",)), ALICE, secrets={"S": "x"})
    (bench.places.secrets / "zzzzzzzzzzzz").write_text("{}")
    async with bench.running():
        assert [path.name for path in _secrets(bench)] == [job.id]


@pytest.mark.parametrize("name", ["SHOREPOWER_JOB_ID", "SHOREPOWER_ATTEMPT"])
async def test_a_secret_replaces_no_fact(bench, name):
    """A job is found by these facts in its environment when it must be ended."""
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest, match=name):
            await dispatcher.submit(a_spec(secrets=(name,)), ALICE, secrets={name: "x"})


async def test_a_store_that_refuses_takes_nothing(bench, monkeypatch):
    async def refuse(unit):
        raise StorageFault("the job database refused: the disk or the quota is full")

    async with bench.running() as dispatcher:
        with monkeypatch.context() as patch:
            patch.setattr(bench.store, "write", refuse)
            with pytest.raises(StorageFault):
                await dispatcher.submit(a_spec(secrets=("S",)), ALICE, secrets={"S": "x"})
        assert _secrets(bench) == []
        assert await bench.store.read(lambda view: view.state_counts()) == {}
        await dispatcher.submit(a_spec(), ALICE)


def _secrets(bench):
    return list(bench.places.secrets.iterdir()) if bench.places.secrets.is_dir() else []


async def test_every_path_and_every_digest_that_is_none_is_told(bench):
    async with bench.running() as dispatcher:
        with pytest.raises(InvalidRequest) as looked:
            await dispatcher.look(["/fine", "no", "also no", "/a\0b"], ALICE)
        digests = ["x", "sha256:" + "0" * 64, "sha256:0", *("y" for _ in range(300))]
        with pytest.raises(InvalidRequest) as asked:
            await dispatcher.missing_blobs(digests, ALICE)

    assert [fault.field for fault in looked.value.faults] == ["paths[1]", "paths[2]", "paths[3]"]
    assert "'also no' is no absolute path" in str(looked.value)
    assert [fault.field for fault in asked.value.faults[:3]] == ["digests[0]", "digests[2]", "digests[3]"]
    assert asked.value.faults[-1].message == "and 202 more that are as wrong"
    assert len(asked.value.faults) == 101
