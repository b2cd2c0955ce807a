"""The client against the real front end: every call, over restarts, for both kinds of client."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import shorepower
from shorepower.client import stream, transport
from shorepower.client.async_client import AsyncClient
from shorepower.client.client import Client
from shorepower.client.errors import JobFailed
from shorepower.client.handle import JobHandle
from shorepower.client.requests import JobQuery
from shorepower.model.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound
from shorepower.model.job import JobSpec
from shorepower.model.lifecycle import Operation, Reason, State
from support.front_thread import TOKEN, FrontThread, front_thread

SPEC = JobSpec(name="fit", argv=("true",), tags={"a": "b=c"})


@pytest.fixture
def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FrontThread]:
    monkeypatch.setattr(stream, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(transport, "FIRST_PAUSE_S", 0.01)
    with front_thread(tmp_path / "run" / "s.sock") as running:
        yield running


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def client(front: FrontThread, environ: dict[str, str]) -> Iterator[Client]:
    with Client(front.url, environ=environ) as made:
        yield made


def test_the_same_key_gives_the_same_job(client: Client) -> None:
    first = client.submit_spec(SPEC, key="k")

    assert client.submit_spec(SPEC, key="k").id == first.id
    assert client.submit_spec(SPEC).id != first.id
    with pytest.raises(Conflict):
        client.submit_spec(JobSpec(name="other", argv=("true",)), key="k")


def test_secrets_go_beside_the_spec(client: Client, front: FrontThread) -> None:
    job = client.submit_spec(JobSpec(name="s", argv=("true",), secrets=("PW",)), secrets={"PW": "x y"})

    assert front.dispatcher.secrets[job.id] == {"PW": "x y"}


def test_jobs_are_named_in_every_way(client: Client) -> None:
    job = client.submit_spec(SPEC)

    assert {client.job(name).id for name in (job.id, job.id[:6], "@fit", "@-1")} == {job.id}
    for name in ("zz/../..", "@no one", "é"):
        with pytest.raises((NotFound, InvalidRequest)):
            client.job(name)
    assert client.spec(job.id) == SPEC
    assert [attempt.job for attempt in client.attempts(job.id)] == [job.id]


def test_a_filter_arrives_whole(client: Client, front: FrontThread) -> None:
    client.jobs(
        JobQuery(
            states=("RUNNING", "FAILED"), cluster="hpc", name="ü&=", tags={"a": "b=c"}, recent=True, limit=7
        )
    )

    wanted = front.dispatcher.wanted
    assert (wanted.states, wanted.cluster, wanted.name) == ((State.RUNNING, State.FAILED), "hpc", "ü&=")
    assert (wanted.tags, wanted.recent, wanted.limit) == ({"a": "b=c"}, True, 7)


def test_waiting_returns_when_the_job_has_ended(client: Client, front: FrontThread) -> None:
    job = client.submit_spec(SPEC)
    found: list[State] = []
    thread = threading.Thread(target=lambda: found.append(client.wait(job.id).state))
    thread.start()
    front.wait_for(lambda: front.dispatcher.waiters)
    assert not found

    front.do(front.dispatcher.change, job.id, state=State.RUNNING)
    front.do(front.dispatcher.end, job.id)
    thread.join(20)

    assert found == [State.COMPLETED]
    with pytest.raises(TimeoutError, match="still pending"):
        client.wait(client.submit_spec(SPEC).id, timeout_s=0.05)


def test_a_handle_tells_how_a_job_failed(client: Client, front: FrontThread) -> None:
    handle = JobHandle(client, client.submit_spec(SPEC))
    front.do(
        front.dispatcher.change, handle.id, state=State.FAILED, reason=Reason.EXIT_CODE, why="exit code 3"
    )

    with pytest.raises(JobFailed, match=r"fit .* failed: exit code 3") as caught:
        handle.wait()

    assert caught.value.job.id == handle.id
    assert handle.wait(check=False).state is State.FAILED


def test_operations_are_recorded(client: Client) -> None:
    job = client.submit_spec(SPEC)

    for operation in Operation:
        assert client.control(job.id, operation).wanted is operation


def test_output_is_followed_over_restarts_of_the_server(tmp_path: Path, environ: dict[str, str]) -> None:
    from anyio.from_thread import start_blocking_portal

    with start_blocking_portal("asyncio") as portal:
        front = FrontThread(tmp_path / "run" / "s.sock", portal)
        pieces: list[bytes] = []
        with front.life():
            client = Client(front.url, environ=environ)
            job = client.submit_spec(SPEC)
            thread = threading.Thread(
                target=lambda: pieces.extend(piece.data for piece in client.output(job.id))
            )
            thread.start()
            front.do(front.dispatcher.write, job.id, b"first ")
            front.wait_for(lambda: pieces)
        for word in (b"second ", b"third "):
            with front.life():
                front.wait_for(lambda: front.dispatcher.followers)
                before = len(pieces)
                front.do(front.dispatcher.write, job.id, word)
                front.wait_for(lambda count=before: len(pieces) > count)
        with front.life():
            front.do(front.dispatcher.end, job.id)
            thread.join(20)
            client.close()

    assert b"".join(pieces) == b"first second third "


def test_output_without_following(client: Client, front: FrontThread) -> None:
    job = client.submit_spec(SPEC)
    front.do(front.dispatcher.write, job.id, b"x" * 3_000_000)

    assert JobHandle(client, job).logs() == "x" * 3_000_000
    assert b"".join(piece.data for piece in client.output(job.id, follow=False, tail_bytes=10)) == b"x" * 10


def test_the_rest_of_the_calls(client: Client, front: FrontThread) -> None:
    job = client.submit_spec(SPEC)
    front.do(front.dispatcher.results.__setitem__, job.id, {b"a b": b"content"})

    assert [info.name for info in client.clusters()] == ["local"]
    assert client.look(["/", "/none"])["/"].exists
    assert client.look([]) == {}
    assert client.server().version == shorepower.__version__
    assert client.whoami().user == "ada"
    assert client.footprint().job_count == 5
    assert client.prune(results=True).freed_bytes == 5
    assert client.prune(unfetched=True).uploading
    told = client.expiring()
    client.warned(told.as_of)
    assert front.dispatcher.shown == [told.as_of]
    assert [entry.path for entry in client.files(job.id).entries] == ["a b"]
    ((header, body),) = client.read_files(job.id, [{"path": "a b", "area": "project", "offset": 2}])
    assert (header["eof"], body) == (True, b"ntent")
    client.mark_pulled(job.id)
    assert front.dispatcher.pulled == [job.id]
    assert client.keep(job.id, None).id == job.id
    made = client.create_token("ci", "read")
    assert made.secret == "shp_ci"
    assert "ci" in [token.name for token in client.tokens()]
    client.revoke_token(made.token.id)


def test_blobs_go_and_come(client: Client) -> None:
    from shorepower.model.tree import digest_of
    from shorepower.wire.http.frames import encode_frame

    data = bytes(range(256)) * 100
    digest = digest_of(data)

    assert client.missing_blobs([digest]) == [digest]
    client.put_blobs(encode_frame({"digest": digest}, data))
    assert client.missing_blobs([digest]) == []
    assert client.blob(digest) == data


def test_events_come_in_order(client: Client) -> None:
    jobs = [client.submit_spec(SPEC) for _ in range(3)]

    news = client.events(after=0)

    assert [next(news).job for _ in range(3)] == [job.id for job in jobs]


def test_a_port_wants_a_token(front: FrontThread, environ: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{front.port}"

    with Client(url, environ={**environ, "SHORE_TOKEN": TOKEN}) as client:
        assert client.whoami().via == "token:t1"
    with Client(url, environ=environ) as client, pytest.raises(NotAuthenticated):
        client.whoami()


def test_the_client_for_event_loops_is_the_same(front: FrontThread, environ: dict[str, str]) -> None:
    async def work() -> None:
        async with AsyncClient(front.url, environ=environ) as client:
            job = await client.submit_spec(SPEC)
            waiting = asyncio.create_task(client.wait(job.id))
            reading = asyncio.create_task(read(client, job.id))
            front.do(front.dispatcher.write, job.id, b"abc")
            front.do(front.dispatcher.end, job.id)
            assert (await waiting).state is State.COMPLETED
            assert await reading == b"abc"
            assert [one.id for one in (await client.jobs()).jobs] == [job.id]
            assert [info.name for info in await client.clusters()] == ["local"]

    async def read(client: AsyncClient, job: str) -> bytes:
        return b"".join([piece.data async for piece in client.output(job)])

    asyncio.run(work())


def test_leaving_a_follower_early_lets_go_of_the_server(
    front: FrontThread, environ: dict[str, str]
) -> None:
    async def work() -> None:
        async with AsyncClient(front.url, environ=environ) as client:
            job = await client.submit_spec(SPEC)
            front.do(front.dispatcher.write, job.id, b"abc")
            pieces = client.output(job.id)
            assert (await anext(pieces)).data == b"abc"
            await pieces.aclose()

    asyncio.run(work())
    front.wait_for(lambda: front.dispatcher.followers == 0)


def test_what_the_package_offers_is_there() -> None:
    for name in shorepower.__all__:
        assert getattr(shorepower, name)
    with pytest.raises(AttributeError):
        _ = shorepower.nothing
