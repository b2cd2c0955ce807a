"""The server's own life: sockets that vanish, idleness, stopping with everything open."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from shorepower.model.errors import InvalidRequest, StateDirectoryFault, StorageFault
from shorepower.server.settings import Listen
from shorepower.server.sockets import OwnSocket, answers, point_to
from shorepower.wire.http.eventstream import EVENT_STREAM
from shorepower.wire.http.frames import FRAMES
from support.talk import Talk
from support.waiting import eventually

pytestmark = pytest.mark.anyio


# stopping


@pytest.mark.parametrize("how", ["request", "signal", "life"])
async def test_a_stop_ends_open_streams_and_polls_within_moments(make_front: Callable, how: str) -> None:
    async with make_front(stop_s=9.0).running(signals=(signal.SIGTERM,)) as front:
        job = front.dispatcher.add("ada")
        follow, events, poll, idle = [await front.talk() for _ in range(4)]
        await follow.send("GET", f"/v1/jobs/{job.id}/output?follow=1", headers={"Accept": FRAMES})
        await events.send("GET", "/v1/events", headers={"Accept": EVENT_STREAM})
        await follow.head()
        await events.head()
        await poll.send("GET", f"/v1/jobs/{job.id}?revision=1&wait=60")
        await eventually(lambda: front.dispatcher.waiters == 2)
        await idle.ask("GET", "/healthz")
        begun = time.monotonic()
        if how == "request":
            stopped = await front.ask("POST", "/v1/server/stop")
            assert (stopped.status, stopped.json()) == (202, {"running": 0})
        elif how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            front.life.close()
        await front.stopped.wait()

        assert time.monotonic() - begun < 5
        assert await follow.rest() is not None  # a proper end of the chunked body
        assert await events.rest() is not None
        await poll.head()
        assert json.loads(await poll.rest())["revision"] == 1
        assert await idle.ended()
        assert not front.socket.path.exists()
        assert front.dispatcher.followers == front.dispatcher.waiters == 0


async def test_a_request_under_way_is_finished(make_front: Callable) -> None:
    async with make_front(stop_s=5.0).running() as front:
        front.dispatcher.block = anyio.Event()
        talk = await front.talk()
        await talk.send("POST", "/v1/blobs", b"")
        await eventually(lambda: front.life.quiet_for_s() == 0)
        front.life.close()
        await anyio.sleep(0.02)
        assert not front.stopped.is_set()
        front.dispatcher.block.set()

        assert await talk.head() == 204
        assert talk.headers["connection"] == "close"
        await front.stopped.wait()


async def test_a_request_that_never_ends_holds_nothing_up(make_front: Callable) -> None:
    async with make_front(stop_s=1.0).running() as front:
        front.dispatcher.block = anyio.Event()
        talk = await front.talk()
        await talk.send("POST", "/v1/blobs", b"")
        await eventually(lambda: front.life.quiet_for_s() == 0)
        begun = time.monotonic()
        front.life.close()
        await front.stopped.wait()
        assert time.monotonic() - begun < 8


async def test_who_comes_too_late_is_told_to_come_again(make_front: Callable) -> None:
    async with make_front(stop_s=5.0).running() as front:
        front.dispatcher.block = anyio.Event()
        busy = await front.talk()
        await busy.send("POST", "/v1/blobs", b"")
        await eventually(lambda: front.life.quiet_for_s() == 0)
        late = await front.talk()
        await late.raw(b"GET /v1/server HTTP/1.1\r\n")
        front.life.close()
        await late.raw(b"Host: x\r\n\r\n")
        status = await late.head()
        front.dispatcher.block.set()

        assert status == 503
        assert late.headers["retry-after"] == "1"
        assert b"jobs live on" in await late.rest()


# idleness


async def test_a_server_with_nothing_to_do_ends_itself(make_front: Callable) -> None:
    front = make_front(idle_stop_s=0.05, idle_poll_s=0.01)
    front.dispatcher.idle_s = 100.0
    async with front.running(idle_for_s=front.dispatcher.idle_for_s):
        with anyio.fail_after(5):
            await front.stopped.wait()
    assert not front.socket.path.exists()


@pytest.mark.parametrize("busy", ["job", "reader", "fault"])
async def test_what_keeps_a_server_alive(make_front: Callable, busy: str) -> None:
    front = make_front(idle_stop_s=0.05, idle_poll_s=0.01)
    asked = 0
    reading = False

    async def idle_for_s() -> float:
        nonlocal asked
        asked += 1
        if busy == "fault":
            raise StorageFault("cannot be read")
        return 100.0 if reading else 0.0

    async with front.running(idle_for_s=idle_for_s):
        if busy == "reader":
            talk = await front.talk()
            await talk.send("GET", "/v1/events", headers={"Accept": EVENT_STREAM})
            await talk.head()
            reading = True
            for _ in range(4):
                await talk.piece()
        else:
            await eventually(lambda: asked >= 4)
        assert not front.stopped.is_set()
        assert not front.life.closing


async def test_a_submit_that_comes_while_idleness_is_judged_wins(make_front: Callable) -> None:
    front = make_front(idle_stop_s=0.05, idle_poll_s=0.01)
    submitted = 0

    async def idle_for_s() -> float:
        nonlocal submitted
        if submitted < 3:
            answer = await front.ask("POST", "/v1/jobs", {"spec": {"name": "n", "argv": ["x"]}})
            assert answer.status == 201
            submitted += 1
            assert not front.life.closing
        return 100.0

    async with front.running(idle_for_s=idle_for_s):
        with anyio.fail_after(5):
            await front.stopped.wait()
    assert submitted == 3


# sockets


async def test_a_socket_that_vanishes_is_made_anew(front) -> None:
    path = front.socket.path
    kept = await front.talk()
    path.unlink()
    await eventually(path.exists)
    assert (await front.ask("GET", "/healthz")).status == 200
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    await eventually(lambda: path.exists() and answers(str(path)))

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert (await front.ask("GET", "/healthz")).status == 200
    assert (await kept.ask("GET", "/healthz")).status == 200


async def test_a_socket_that_cannot_be_made_anew_yet_is_tried_again(front) -> None:
    path = front.socket.path
    moved = path.parent.with_name("moved")
    path.parent.rename(moved)
    path.parent.write_text("in the way")
    await anyio.sleep(0.05)
    assert not front.stopped.is_set()
    path.parent.unlink()
    await eventually(lambda: path.exists() and answers(str(path)))


def test_a_stale_socket_is_replaced_and_only_ones_own_removed(tmp_path: Path) -> None:
    path = tmp_path / "run" / "a.sock"
    dead = OwnSocket(path, os.getuid())
    dead.bind().close()
    assert not answers(str(path))

    own = OwnSocket(path, os.getuid())
    with own.bind():
        assert answers(str(path))
        assert own.is_there()
        assert not dead.is_there()
        dead.remove()
        assert path.exists()
    own.remove()
    own.remove()
    assert not path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="making another user's folder needs root")
def test_a_socket_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(
        StateDirectoryFault, match="belongs to user 12345, not to you; remove it, or set XDG"
    ):
        OwnSocket(folder / "a.sock", os.getuid()).bind()


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StateDirectoryFault, match="symbolic link"):
        OwnSocket(tmp_path / "link" / "a.sock", os.getuid()).bind()


def test_a_socket_folder_with_other_things_is_not_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "thesis").touch()
    with pytest.raises(StateDirectoryFault, match="thesis"):
        OwnSocket(folder / "a.sock", os.getuid()).bind()


def test_a_login_without_the_runtime_folder_finds_the_same_server(tmp_path: Path) -> None:
    own = OwnSocket(tmp_path / "run" / "a.sock", os.getuid())
    other = tmp_path / "tmp" / "b.sock"
    with own.bind():
        for _ in range(2):
            point_to(other, own.path, os.getuid())
            assert answers(str(other))
        point_to(own.path, own.path, os.getuid())
        assert own.is_there()
    own.remove()
    assert not answers(str(other))
    replacement = OwnSocket(other, os.getuid())
    with replacement.bind():
        assert not other.is_symlink()
        assert answers(str(other))
    replacement.remove()


async def test_a_port_in_use_is_told_in_words(make_front: Callable) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        front = make_front(listen=Listen(host="127.0.0.1", port=port))
        with pytest.raises(ExceptionGroup) as caught:
            async with front.running():
                pytest.fail("it cannot listen there")
    assert caught.group_contains(StateDirectoryFault, match=rf"127\.0\.0\.1:{port} .*in use", depth=None)
    assert not front.socket.path.exists()


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2"),
            *("-keyout", key, "-out", cert, "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


async def test_tls_on_the_port_and_none_on_the_socket(make_front: Callable, certificate) -> None:
    import asyncio
    import ssl

    cert, key = certificate
    async with make_front(tls_cert=cert, tls_key=key).running() as front:
        context = ssl.create_default_context(cafile=cert)
        streams = await asyncio.open_connection("127.0.0.1", front.port, ssl=context)
        talk = Talk(*streams)
        assert (await talk.ask("GET", "/healthz")).status == 200
        talk.close()
        assert (await front.ask("GET", "/healthz")).status == 200
        plain = await front.talk(port=True)
        await plain.send("GET", "/healthz")
        with pytest.raises((ConnectionError, ValueError, IndexError)):
            await plain.head()


async def test_a_certificate_that_is_none_is_told(make_front: Callable, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("nonsense")
    front = make_front(tls_cert=tmp_path / "x", tls_key=tmp_path / "x")
    with pytest.raises(ExceptionGroup) as caught:
        async with front.running():
            pytest.fail("that is no certificate")
    assert caught.group_contains(InvalidRequest, match="certificate and key cannot be used", depth=None)
