"""HTTP over a real socket, byte by byte where a test wants it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Answer", "Talk"]

LIMIT_S = 10.0


class Answer:
    """A whole answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


class Talk:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def to(cls, where: Path | int) -> Talk:
        """Connect to a Unix socket or to a port of this machine."""
        if isinstance(where, int):
            return cls(*await asyncio.open_connection("127.0.0.1", where, limit=1 << 22))
        return cls(*await asyncio.open_unix_connection(where, limit=1 << 22))

    async def ask(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> Answer:
        """Send a request and read its whole answer."""
        await self.send(method, target, body, headers)
        await self.head()
        return Answer(self.status, self.headers, await self.rest())

    async def send(
        self, method: str, target: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> None:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        told = {"Host": "localhost", **headers}
        if data or method == "POST":
            told.setdefault("Content-Length", str(len(data)))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        await self.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data)

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(LIMIT_S):
            await self.writer.drain()

    async def head(self) -> int:
        async with asyncio.timeout(LIMIT_S):
            line = await self.reader.readline()
            if not line:
                raise ConnectionError("closed without an answer")
            self.status = int(line.split()[1])
            self.headers = {}
            while line := (await self.reader.readline()).strip():
                name, _, value = line.decode("latin-1").partition(":")
                self.headers[name.lower()] = value.strip()
        return self.status

    async def piece(self) -> bytes:
        """The next chunk of a chunked answer; empty at its proper end. Raises ConnectionError when cut."""
        async with asyncio.timeout(LIMIT_S):
            line = await self.reader.readline()
            if not line:
                raise ConnectionError("cut")
            data = await self.reader.readexactly(int(line, 16))
            await self.reader.readexactly(2)
        return data

    async def until(self, wanted: bytes) -> bytes:
        """Chunks up to the one that completes ``wanted``."""
        got = b""
        while wanted not in got:
            piece = await self.piece()
            if not piece:
                raise AssertionError(f"ended without {wanted!r}: {got!r}")
            got += piece
        return got

    async def rest(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            got = b""
            while piece := await self.piece():
                got += piece
            return got
        async with asyncio.timeout(LIMIT_S):
            if "content-length" in self.headers:
                return await self.reader.readexactly(int(self.headers["content-length"]))
            return b"" if self.status in (204, 304) else await self.reader.read()

    async def ended(self) -> bool:
        """Whether the other side closed, without another word."""
        async with asyncio.timeout(LIMIT_S):
            return await self.reader.read(1) == b""

    def close(self) -> None:
        self.writer.close()
