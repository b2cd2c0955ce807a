"""TLS with certificates that are checked, alone and through a proxy."""

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shorepower.client import requests, transport
from shorepower.client.address import Address
from shorepower.client.transport import Transport
from shorepower.model.errors import Unreachable
from support.scripted_server import ScriptedServer, Seen, reply

INFO = {"version": "0.1.0"}
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-out",
            str(made[0]),
            "-keyout",
            str(made[1]),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    return made


@pytest.fixture
def front(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, ScriptedServer]]:
    """A port that speaks TLS, and what answers behind it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    monkeypatch.setattr(transport, "STRANGER_PATIENCE_S", 0.1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with ScriptedServer(*[reply(INFO)] * 3, tls=context) as server:
        yield server.port, server


def asked(port: int, host: str = "localhost", **environ: str) -> str:
    carrier = Transport(
        Address(label="hpc", host=host, port=port, tls=True), version="0.1.0", environ=environ
    )
    try:
        return carrier.call(requests.server()).version
    finally:
        carrier.close()


def test_a_server_with_a_known_certificate_is_used(front: tuple[int, ScriptedServer]) -> None:
    port, server = front

    assert asked(port) == "0.1.0"
    assert server.seen[0].headers["host"] == f"localhost:{port}"


def test_a_certificate_of_another_name_is_refused(front: tuple[int, ScriptedServer]) -> None:
    with pytest.raises(Unreachable, match=r"hpc cannot be reached: .*certificate"):
        asked(front[0], "127.0.0.1")


def test_an_unknown_certificate_is_refused(
    front: tuple[int, ScriptedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")

    with pytest.raises(Unreachable, match=r"hpc cannot be reached: .*certificate"):
        asked(front[0])


def _joins(sock: socket.socket, seen: Seen) -> bool:
    """Answers CONNECT as a proxy does, then carries bytes both ways until one side ends."""
    host, _, port = seen.path.rpartition(":")
    with socket.create_connection((host, int(port))) as far:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def carry(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):  # one side ended at once
                while data := source.recv(65536):
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=carry, args=(far, sock), daemon=True)
        back.start()
        carry(sock, far)
        back.join(10)
    return False


def test_a_proxy_is_asked_for_the_way(front: tuple[int, ScriptedServer]) -> None:
    port, _ = front
    with ScriptedServer(_joins) as proxy:
        assert asked(port, HTTPS_PROXY=f"http://ada:s%40@127.0.0.1:{proxy.port}") == "0.1.0"

    assert (proxy.seen[0].method, proxy.seen[0].path) == ("CONNECT", f"localhost:{port}")
    assert proxy.seen[0].headers["host"] == f"localhost:{port}"
    assert proxy.seen[0].headers["proxy-authorization"] == "Basic YWRhOnNA"


def test_a_proxy_is_not_used_where_it_is_not_wanted(front: tuple[int, ScriptedServer]) -> None:
    with ScriptedServer() as proxy:
        assert (
            asked(front[0], https_proxy=f"http://127.0.0.1:{proxy.port}", NO_PROXY="localhost") == "0.1.0"
        )

    assert not proxy.seen


def test_a_proxy_that_says_no_is_quoted(front: tuple[int, ScriptedServer]) -> None:
    with (
        ScriptedServer(*[reply(raw=b"", status=407)] * 9) as proxy,
        pytest.raises(Unreachable, match=r"the proxy 127\.0\.0\.1 answered 407"),
    ):
        asked(front[0], https_proxy=f"127.0.0.1:{proxy.port}")

    assert not front[1].seen
