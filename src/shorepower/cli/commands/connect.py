"""``shore connect``: joins standard input and output to the server's socket, for ssh."""

from __future__ import annotations

import os
import socket
import sys
import threading

import click

from ..voice import say

__all__ = ["command"]

PIECE_BYTES = 1 << 18


@click.command("connect", hidden=True)
def command() -> None:
    """Join standard input and output to the server on this machine. Started by ssh, not by people."""
    from ...client.address import MARKER

    sock = _reach()
    os.write(1, MARKER)
    threading.Thread(target=_inward, args=(sock,), daemon=True).start()
    while data := _received(sock):
        _write_all(1, data)
    sock.close()
    sys.stdout.flush()
    os._exit(0)  # the other thread may wait for input for ever


def _reach() -> socket.socket:
    """The machine's server, or the user's own, started if need be."""
    from ...client.client import Client

    with Client("here", say=say) as client:
        client.server()
        path = client.transport.address.socket
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(path)
    return sock


def _inward(sock: socket.socket) -> None:
    """From standard input to the server, until it ends."""
    try:
        while data := os.read(0, PIECE_BYTES):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the server went; the other direction ends by itself


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(PIECE_BYTES)
    except OSError:
        return b""


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
