"""Requests over real sockets: what is sent again and what never is, cuts, restarts, versions."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shorepower.client import connections, requests, transport
from shorepower.client.address import MARKER, Address, unix_address
from shorepower.client.errors import NotOurs, ServerFault, VersionMismatch
from shorepower.client.link import _VersionHooks
from shorepower.client.transport import Hooks, Transport
from shorepower.model.errors import Busy, Conflict, InvalidRequest, NotFound, Unreachable
from support.scripted_server import ScriptedServer, hang_up, reply, torn

INFO = {"version": "0.1.0"}
CREATE = requests.create_token("t", "full", None)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "STRANGER_PATIENCE_S", 0.3)
    monkeypatch.setattr(transport, "PATIENCE_S", 3.0)


@pytest.fixture
def made() -> Iterator[list[Transport]]:
    every: list[Transport] = []
    yield every
    for one in every:
        one.close()


def over(
    server: ScriptedServer, made: list[Transport], hooks: Hooks | None = None, **more: str
) -> Transport:
    address = Address(label="the server", host="127.0.0.1", port=server.port)
    made.append(Transport(address, version="0.1.0", hooks=hooks, environ={}, **more))
    return made[-1]


def test_one_connection_carries_many_calls(made: list[Transport]) -> None:
    with ScriptedServer(*[reply(INFO)] * 3) as server:
        carrier = over(server, made, token="shp_x")

        for _ in range(3):
            assert carrier.call(requests.server()).version == "0.1.0"

    assert server.connections == 1
    assert server.seen[0].headers["authorization"] == "Bearer shp_x"
    assert server.seen[0].headers["shorepower-version"] == "0.1.0"


def test_a_unix_socket_carries_the_same(tmp_path: Path, made: list[Transport]) -> None:
    with ScriptedServer(reply(INFO), path=tmp_path / "s"):
        made.append(Transport(unix_address(str(tmp_path / "s")), version="0.1.0"))

        assert made[0].call(requests.server()).version == "0.1.0"


def test_a_program_carries_the_same_past_what_a_login_prints(tmp_path: Path, made: list[Transport]) -> None:
    joiner = (
        "import socket,sys,os,threading\n"
        "s=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\n"
        f"os.write(1,b'Welcome to the cluster!\\n'+{MARKER!r})\n"
        "def inward():\n"
        "  while d:=os.read(0,65536): s.sendall(d)\n"
        "  s.shutdown(1)\n"
        "threading.Thread(target=inward,daemon=True).start()\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    with ScriptedServer(reply(INFO), reply(INFO)) as server:
        command = (sys.executable, "-c", joiner, str(server.port))
        made.append(Transport(Address(label="ssh://x", command=command), version="0.1.0"))

        assert made[0].call(requests.server()).version == "0.1.0"
        assert made[0].call(requests.server()).version == "0.1.0"
        made[0].close()

    assert server.connections == 1


def test_a_program_that_fails_is_quoted_and_not_tried_again(tmp_path: Path, made: list[Transport]) -> None:
    count = tmp_path / "count"
    code = (
        f"import sys; open({str(count)!r}, 'a').write('x'); "
        "print('no route to host', file=sys.stderr); sys.exit(255)"
    )
    address = Address(label="ssh://x", command=(sys.executable, "-c", code))
    made.append(Transport(address, version="0.1.0"))

    with pytest.raises(Unreachable, match="ssh://x cannot be reached: no route to host"):
        made[0].call(requests.server())

    assert count.read_text() == "x"


def test_a_read_is_sent_again_after_a_cut(made: list[Transport]) -> None:
    with ScriptedServer(hang_up, torn(b'{"vers', promise=99), reply(INFO)) as server:
        assert over(server, made).call(requests.server()).version == "0.1.0"

    assert len(server.seen) == 3


def test_a_submit_is_sent_again_under_its_key(made: list[Transport]) -> None:
    from shorepower.model.job import JobSpec

    spec = JobSpec(name="n", argv=("true",))
    answer = {
        "id": "a" * 12,
        "name": "n",
        "owner": "o",
        "cluster": "local",
        "created_at": "2026-01-01T00:00:00Z",
    }
    with ScriptedServer(reply(INFO), hang_up, reply(answer, 201)) as server:
        job = over(server, made).call(requests.submit(spec, "key-1", {}))

    assert job.id == "a" * 12
    assert [(seen.method, seen.headers.get("idempotency-key")) for seen in server.seen[1:]] == [
        ("POST", "key-1")
    ] * 2
    assert server.seen[1].body == server.seen[2].body


def test_what_is_not_repeatable_is_sent_once(made: list[Transport]) -> None:
    with (
        ScriptedServer(reply(INFO), hang_up, reply({})) as server,
        pytest.raises(Unreachable, match="did not answer"),
    ):
        over(server, made).call(CREATE)

    assert [seen.path for seen in server.seen] == ["/v1/server", "/v1/tokens"]


def test_an_idle_connection_that_the_server_closed_is_not_used(made: list[Transport]) -> None:
    def and_close(sock: object, seen: object) -> bool:
        reply(INFO)(sock, seen)
        return False

    token = {"secret": "s", "token": {"id": "1", "name": "t", "user": "u", "scope": "full"}}
    token["token"]["created_at"] = "2026-01-01T00:00:00Z"
    with ScriptedServer(and_close, reply(token)) as server:
        carrier = over(server, made)
        carrier.call(requests.server())
        deadline = time.monotonic() + 5
        while not connections.went_quiet(carrier._idle[0]) and time.monotonic() < deadline:
            time.sleep(0.01)

        assert carrier.call(CREATE).secret == "s"

    assert server.connections == 2


def test_a_busy_server_is_asked_again_when_it_says(made: list[Transport]) -> None:
    problem = {"type": "urn:shorepower:problem:busy", "title": "Busy", "status": 503, "detail": "full"}
    with ScriptedServer(reply(problem, 503, Retry_After="0"), reply(INFO)) as server:
        assert over(server, made).call(requests.server()).version == "0.1.0"

    assert len(server.seen) == 2


def test_a_server_that_stays_busy_is_given_up(made: list[Transport]) -> None:
    problem = {
        "type": "urn:shorepower:problem:busy",
        "title": "Busy",
        "detail": "full",
        "retry_after_s": 60,
    }
    with ScriptedServer(*[reply(problem, 503)] * 9) as server, pytest.raises(Busy, match="full"):
        over(server, made).call(requests.server())

    assert len(server.seen) == 1


def test_a_server_that_comes_back_is_found_again(tmp_path: Path, made: list[Transport]) -> None:
    path = tmp_path / "s"
    first = ScriptedServer(reply(INFO), path=path)
    made.append(Transport(unix_address(str(path)), version="0.1.0"))
    made[0].call(requests.server())
    made[0].close()
    first.close()
    path.unlink()
    later: list[ScriptedServer] = []
    timer = threading.Timer(0.3, lambda: later.append(ScriptedServer(reply(INFO), path=path)))
    timer.start()

    assert made[0].call(requests.server()).version == "0.1.0"

    timer.join()
    later[0].close()


def test_nobody_there_is_unreachable_with_the_reason(tmp_path: Path, made: list[Transport]) -> None:
    made.append(Transport(unix_address(str(tmp_path / "none")), version="0.1.0"))

    with pytest.raises(Unreachable, match="your server cannot be reached: no server is running there"):
        made[0].call(requests.server())


@pytest.mark.parametrize(
    ("status", "slug", "kind"),
    [(404, "not-found", NotFound), (409, "conflict", Conflict), (422, "invalid-request", InvalidRequest)],
)
def test_a_problem_is_raised_as_what_it_is(
    status: int, slug: str, kind: type[Exception], made: list[Transport]
) -> None:
    problem = {
        "type": f"urn:shorepower:problem:{slug}",
        "title": "T",
        "status": status,
        "detail": "the reason",
    }
    with ScriptedServer(reply(problem, status)) as server, pytest.raises(kind, match="the reason"):
        over(server, made).call(requests.job("x"))

    assert len(server.seen) == 1


def test_every_fault_of_a_request_arrives(made: list[Transport]) -> None:
    faults = [{"field": "a", "message": "first"}, {"field": "b", "message": "second"}]
    problem = {"type": "urn:shorepower:problem:invalid-request", "detail": "first; second"}
    with (
        ScriptedServer(reply({**problem, "faults": faults}, 422)) as server,
        pytest.raises(InvalidRequest) as caught,
    ):
        over(server, made).call(requests.job("x"))

    assert [fault.message for fault in caught.value.faults] == ["first", "second"]


def test_a_proxy_before_an_absent_server_is_no_answer_of_ours(made: list[Transport]) -> None:
    with (
        ScriptedServer(*[reply(raw=b"<html>", status=502, version=None)] * 9) as server,
        pytest.raises(NotOurs, match="502 Bad Gateway, and not in shorepower's words"),
    ):
        over(server, made).call(requests.server())

    assert len(server.seen) > 1


def test_another_program_on_the_port_is_no_server_of_ours(made: list[Transport]) -> None:
    with (
        ScriptedServer(*[reply({"hello": 1}, version=None)] * 9) as server,
        pytest.raises(NotOurs, match="is no shorepower server"),
    ):
        over(server, made).call(requests.server())


def test_an_answer_that_cannot_be_understood_is_a_fault_of_the_server(made: list[Transport]) -> None:
    with (
        ScriptedServer(reply({"nothing": 1})) as server,
        pytest.raises(ServerFault, match="cannot be understood"),
    ):
        over(server, made).call(requests.server())


@pytest.mark.parametrize("theirs", ["0.3.0", "1.1.0", "nonsense"])
def test_a_server_too_far_away_is_asked_for_nothing(theirs: str, made: list[Transport]) -> None:
    with ScriptedServer(*[reply(INFO, version=theirs)] * 3) as server, pytest.raises(VersionMismatch):
        over(server, made, _VersionHooks("the server")).call(CREATE)

    assert [seen.path for seen in server.seen] == ["/v1/server"]


@pytest.mark.parametrize("theirs", ["0.0.9", "0.2.7"])
def test_a_server_one_minor_version_away_is_used(theirs: str, made: list[Transport]) -> None:
    with ScriptedServer(reply(INFO, version=theirs)) as server:
        assert over(server, made, _VersionHooks("the server")).call(requests.server())


def test_a_body_larger_than_a_block_arrives_whole(made: list[Transport]) -> None:
    body = bytes(range(256)) * 8192
    with ScriptedServer(reply(INFO), reply(None, 204)) as server:
        over(server, made).call(requests.put_blobs(body, "zstd"))

    assert server.seen[1].body == body
    assert server.seen[1].headers["content-encoding"] == "zstd"


def test_a_base_path_stands_before_every_path(made: list[Transport]) -> None:
    with ScriptedServer(reply(INFO)) as server:
        address = Address(label="s", host="127.0.0.1", port=server.port, base="/tools/shore")
        made.append(Transport(address, version="0.1.0", environ={}))
        made[0].call(requests.server())

    assert server.seen[0].path == "/tools/shore/v1/server"


def test_several_threads_share_a_transport(made: list[Transport]) -> None:
    with ScriptedServer(*[reply(INFO)] * 40) as server:
        carrier = over(server, made)
        found: list[str] = []

        def ask() -> None:
            for _ in range(5):
                found.append(carrier.call(requests.server()).version)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert found == ["0.1.0"] * 40
    assert len(carrier._idle) <= transport.IDLE_CONNECTIONS
