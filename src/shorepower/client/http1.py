"""HTTP/1.1 as a client speaks it, without any I/O: the head of a request, and an answer fed with bytes.

Parsing is llhttp's (`httptools`), whose import costs 1 ms where `http.client` with `email` and `ssl`
costs 20, which each command of the command line would pay.
"""

from __future__ import annotations

from collections.abc import Mapping

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from ..model.errors import InvalidRequest

__all__ = ["AnswerReader", "Garbled", "head_of"]

HEAD_LIMIT_BYTES = 64 << 10
"""Of an answer, before its body."""


class Garbled(ConnectionError):
    """What came back is not HTTP."""


def head_of(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Request line and headers. Raises InvalidRequest for what would not stay in its line."""
    if not _is_plain(target) or " " in target:
        raise InvalidRequest(f"{target!r} cannot be asked for")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers.items():
        if not _is_plain(value):
            raise InvalidRequest(f"the value of {name} has characters that cannot be sent")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("ascii")


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


class AnswerReader:
    """One answer. Feed it what is received until it has `ended`; `take` what has come of its body."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        """Names in lower case; the values of a repeated one are joined by commas."""
        self.begun = False
        """Status and headers are known."""
        self.ended = False
        self.reusable = False
        """The connection can carry another request once this has ended."""
        self._parser = HttpResponseParser(self)
        self._head_bytes = 0
        self._pieces: list[bytes] = []
        self._left: int | None = None
        """How much of the body is to come, where the answer said so."""

    def feed(self, data: bytes) -> None:
        """Raises Garbled."""
        if not self.begun:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            if not self.ended:
                raise Garbled(f"what came back is not HTTP: {error}") from error
            self.reusable = False  # more than was asked for
        except HttpParserUpgrade as error:
            raise Garbled("what came back is another protocol") from error
        if not self.begun and self._head_bytes > HEAD_LIMIT_BYTES:
            raise Garbled(f"what came back has a head of more than {HEAD_LIMIT_BYTES >> 10} KiB")

    def take(self) -> bytes:
        """What has come of the body since the last time."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def missing(self) -> str:
        """Nothing more comes: what is missing, in words; empty for a body that ends with its connection."""
        if self.ended:
            return ""
        if not self.begun:
            return "the connection was closed"
        if self._left is not None:
            return f"{self._left} bytes of the answer are missing"
        if "transfer-encoding" in self.headers:
            return "the end of the answer is missing"
        return ""

    # called by the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.begun:
            return  # a trailer
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers.clear()  # it announces another
            return
        if self.begun:
            self.reusable = False  # a second answer, which nobody asked for
            return
        self.begun = True
        length = self.headers.get("content-length")
        self._left = int(length) if length is not None else None

    def on_body(self, data: bytes) -> None:
        if not self.ended:
            self._pieces.append(data)
            if self._left is not None:
                self._left -= len(data)

    def on_message_complete(self) -> None:
        if self.begun:
            self.reusable = not self.ended and self._parser.should_keep_alive()
            self.ended = True
