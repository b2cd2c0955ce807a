"""A server of a few lines on a real socket: each request is answered by the next thing in its script."""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec


class Seen(msgspec.Struct):
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[socket.socket, Seen], bool | None]
"""Writes an answer; False closes the connection after it."""


def reply(
    body: object = None,
    status: int = 200,
    *,
    version: str | None = "0.1.0",
    raw: bytes | None = None,
    **headers: str,
) -> Answer:
    """An ordinary answer."""

    def answer(sock: socket.socket, seen: Seen) -> None:
        data = raw if raw is not None else msgspec.json.encode(body)
        told = {
            "Content-Length": str(len(data)),
            **{key.replace("_", "-"): value for key, value in headers.items()},
        }
        if version is not None:
            told["Shorepower-Version"] = version
        head = "".join(f"{key}: {value}\r\n" for key, value in told.items())
        sock.sendall(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + data)

    return answer


def torn(data: bytes, *, promise: int) -> Answer:
    """An answer that promises more bytes than it sends, then a cut."""

    def answer(sock: socket.socket, seen: Seen) -> bool:
        sock.sendall(
            f"HTTP/1.1 200 X\r\nContent-Length: {promise}\r\nShorepower-Version: 0.1.0\r\n\r\n".encode()
            + data
        )
        return False

    return answer


def hang_up(sock: socket.socket, seen: Seen) -> bool:
    """No answer at all."""
    return False


class ScriptedServer:
    """Listens on a Unix socket or a loopback port until closed; with ``tls`` it speaks that."""

    def __init__(
        self, *script: Answer, path: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.script = list(script)
        self._tls = tls
        self.seen: list[Seen] = []
        self.connections = 0
        self._closed = False
        self._threads: list[threading.Thread] = []
        if path is not None:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
        else:
            self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.listen(16)
        self._start(self._accept)

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def close(self) -> None:
        self._closed = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def __enter__(self) -> "ScriptedServer":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True)
            except OSError:
                return  # they did not like the certificate
        with sock, sock.makefile("rb") as stream:
            while (seen := _read(stream)) is not None:
                self.seen.append(seen)
                if not self.script:
                    return
                try:
                    if self.script.pop(0)(sock, seen) is False:
                        sock.shutdown(socket.SHUT_RDWR)
                        return
                except OSError:
                    return


def _read(stream: object) -> Seen | None:
    try:
        line = stream.readline()
    except OSError:
        return None
    if not line:
        return None
    method, path, _ = line.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := stream.readline().strip()) != b"":
        key, _, value = line.decode().partition(":")
        headers[key.strip().lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Seen(method, path, headers, body)
