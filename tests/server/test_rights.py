"""Who may call what. A new route fails here until it is classified."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import anyio
import pytest

from shorepower.model.caller import Scope
from shorepower.server.app import make_routes, routes
from shorepower.server.needs import Need
from shorepower.wire.http.frames import FRAMES
from support.talk import Talk

pytestmark = pytest.mark.anyio

RIGHTS = {
    ("GET", "/healthz"): Need.NOBODY,
    ("GET", "/v1/openapi.json"): Need.NOBODY,
    ("GET", "/v1/server"): Need.READ,
    ("POST", "/v1/server/stop"): Need.OWNER,
    ("GET", "/v1/whoami"): Need.READ,
    ("POST", "/v1/jobs"): Need.SUBMIT,
    ("GET", "/v1/jobs"): Need.READ,
    ("GET", "/v1/jobs/{job}"): Need.READ,
    ("GET", "/v1/jobs/{job}/spec"): Need.READ,
    ("GET", "/v1/jobs/{job}/attempts"): Need.READ,
    ("GET", "/v1/jobs/{job}/tasks"): Need.READ,
    ("GET", "/v1/jobs/{job}/output"): Need.READ,
    ("GET", "/v1/jobs/{job}/files"): Need.READ,
    ("POST", "/v1/jobs/{job}/files:read"): Need.READ,
    ("POST", "/v1/jobs/{job}/values:read"): Need.READ,
    ("POST", "/v1/jobs/{job}/pulled"): Need.CHANGE,
    ("POST", "/v1/jobs/{job}/keep"): Need.CHANGE,
    ("POST", "/v1/jobs/{job}/stop"): Need.CHANGE,
    ("POST", "/v1/jobs/{job}/kill"): Need.CHANGE,
    ("POST", "/v1/jobs/{job}/suspend"): Need.CHANGE,
    ("POST", "/v1/jobs/{job}/resume"): Need.CHANGE,
    ("GET", "/v1/events"): Need.READ,
    ("GET", "/v1/clusters"): Need.READ,
    ("POST", "/v1/look"): Need.SUBMIT,
    ("POST", "/v1/blobs:missing"): Need.SUBMIT,
    ("POST", "/v1/blobs"): Need.SUBMIT,
    ("GET", "/v1/blobs/{digest}"): Need.READ,
    ("POST", "/v1/prune"): Need.CHANGE,
    ("GET", "/v1/results:expiring"): Need.READ,
    ("POST", "/v1/results:warned"): Need.CHANGE,
    ("GET", "/v1/footprint"): Need.READ,
    ("GET", "/v1/tokens"): Need.CHANGE,
    ("POST", "/v1/tokens"): Need.CHANGE,
    ("DELETE", "/v1/tokens/{token}"): Need.CHANGE,
}
ENOUGH = {
    Need.NOBODY: set(Scope),
    Need.READ: set(Scope),
    Need.SUBMIT: {Scope.SUBMIT, Scope.FULL},
    Need.CHANGE: {Scope.FULL},
    Need.OWNER: set(),
}
BODIES = {
    "/v1/jobs": {"spec": {"name": "n", "argv": ["x"]}},
    "/v1/look": {"paths": ["/"]},
    "/v1/blobs:missing": {"digests": []},
    "/v1/blobs": b"",
    "/v1/jobs/{job}/files:read": {"entries": []},
    "/v1/jobs/{job}/values:read": {"offsets": {}},
    "/v1/jobs/{job}/keep": {"until": None},
    "/v1/prune": {},
    "/v1/results:warned": {"as_of": "2026-01-01T00:00:00Z"},
    "/v1/tokens": {"name": "n"},
}
DIGEST = "sha256:" + "0" * 64


def test_every_route_is_classified_here_and_there_alike() -> None:
    found = {
        (method, path.replace(":str}", "}")): route.opt["need"]
        for route in routes()
        for path in route.paths
        for method in route.http_methods
    }

    assert found == RIGHTS


def test_the_application_has_no_other_routes() -> None:
    unused = dict.fromkeys(("dispatcher", "facts", "life", "uploads"))
    found = {
        (method, route.path_format)
        for route in make_routes(unused).routes
        for method in route.methods  # type: ignore[attr-defined]
    }

    assert {one for one in found if one[0] != "OPTIONS"} == set(RIGHTS)


async def test_asking_for_methods_needs_a_credential_and_changes_nothing(front) -> None:
    for _, path in RIGHTS:
        answer = await front.ask("OPTIONS", path.replace("{job}", "x").replace("{digest}", "x"))
        assert (answer.status, "OPTIONS" in answer.headers["allow"]) == (204, True)
    assert (await front.ask_port("OPTIONS", "/v1/jobs")).status == 401
    assert front.dispatcher.calls == []


@pytest.mark.parametrize(("method", "path"), RIGHTS)
async def test_each_scope_reaches_what_it_should(front, method: str, path: str) -> None:
    need = RIGHTS[method, path]
    job = front.dispatcher.add("ada")
    target = path.format(job=job.id, digest=DIGEST, token="t-none") if "{" in path else path
    for scope in Scope:
        answer = await front.ask_port(
            method, target, BODIES.get(path) if method == "POST" else None, Authorization=front.token(scope)
        )
        if scope in ENOUGH[need]:
            assert answer.status in (200, 201, 202, 204, 404), answer.body
        else:
            assert answer.status == 403, answer.body
            assert answer.json()["type"] == "urn:shorepower:problem:not-allowed"
    unknown = await front.ask_port(method, target, Authorization="Bearer shp_wrong")
    nobody = await front.ask_port(method, target)
    assert unknown.status == 401
    assert nobody.status == (200 if need is Need.NOBODY else 401)
    if nobody.status == 401:
        assert nobody.headers["www-authenticate"] == "Bearer"


async def test_nothing_changes_for_who_may_only_look(front) -> None:
    job = front.dispatcher.add("ada")
    before = dict(front.dispatcher.known)
    for (method, path), need in RIGHTS.items():
        if ENOUGH[need] >= {Scope.READ} or method == "GET":
            continue
        await front.ask_port(
            method,
            path.format(job=job.id, digest=DIGEST, token="t-full"),
            BODIES.get(path),
            Authorization=front.token(Scope.READ),
        )
    assert front.dispatcher.known == before
    assert not front.dispatcher.pulled
    assert not front.life.closing


async def test_a_token_sees_its_user_alone(front) -> None:
    front.dispatcher.add("ada")
    theirs = front.dispatcher.add("bob")

    listed = await front.ask_port("GET", "/v1/jobs", Authorization=front.token(Scope.FULL))
    foreign = await front.ask_port("GET", f"/v1/jobs/{theirs.id}", Authorization=front.token(Scope.FULL))
    who = await front.ask_port("GET", "/v1/whoami", Authorization=front.token(Scope.READ, "bob"))

    assert [job["owner"] for job in listed.json()["jobs"]] == ["ada"]
    assert foreign.status == 404
    assert who.json() == {"user": "bob", "uid": None, "scope": "read", "via": "token:t-read"}


async def test_the_socket_knows_its_caller_without_a_token(front) -> None:
    who = await front.ask("GET", "/v1/whoami", Authorization="Bearer shp_wrong")

    assert who.json() == {"user": "ada", "uid": os.getuid(), "scope": "full", "via": "socket"}


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:8080"])
async def test_pages_in_browsers_are_refused_on_a_port(front, origin: str) -> None:
    token = front.token(Scope.FULL)
    answer = await front.ask_port("POST", "/v1/prune", {}, Origin=origin, Authorization=token)
    health = await front.ask_port("GET", "/healthz", Origin=origin)

    assert (answer.status, health.status) == (403, 403)
    assert "prune" not in front.dispatcher.calls


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8080", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("", 421),
        ("shore.example.org", 200),
    ],
)
async def test_names_made_to_point_here_are_refused(make_front: Callable, host: str, status: int) -> None:
    async with make_front(hosts=("shore.example.org",)).running() as front:
        answer = await front.ask_port("GET", "/v1/server", Host=host, Authorization=front.token(Scope.READ))
        assert answer.status == status


async def test_on_the_socket_any_host_will_do(front) -> None:
    assert (await front.ask("GET", "/v1/server", Host="whatever")).status == 200


PEER = """
import socket, sys, os
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
s.sendall(b"GET /v1/whoami HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
data = b""
while piece := s.recv(65536): data += piece
sys.stdout.write(data.decode())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize(("uid", "status"), [(12345, 403), (65534, 403)])
async def test_another_user_is_refused_by_the_kernels_word(front, uid: int, status: int) -> None:
    # What no one else could reach: 0600 in a 0700 folder. Opened here to see the second line of defence.
    path = front.socket.path
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for folder in path.parents:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    path.chmod(0o666)

    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-S", "-c", PEER, str(path), str(uid)], capture_output=True, timeout=20
        )
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 %d " % status), done
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"user number {uid}" in problem["detail"]


async def test_stop_is_for_the_private_servers_own_socket(make_front: Callable) -> None:
    async with make_front().running() as front:
        over_port = await front.ask_port("POST", "/v1/server/stop", Authorization=front.token(Scope.FULL))
        assert over_port.status == 403
    async with make_front(private=False).running() as front:
        assert (await front.ask("POST", "/v1/server/stop")).status == 403
        assert not front.life.closing


async def test_uploads_of_a_reader_are_refused_before_they_are_read(front) -> None:
    talk: Talk = await front.talk(port=True)
    headers = {
        "Authorization": front.token(Scope.READ),
        "Content-Type": FRAMES,
        "Content-Length": "60000000",
    }
    await talk.send("POST", "/v1/blobs", b"", headers)

    assert await talk.head() == 403
