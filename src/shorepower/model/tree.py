"""The tree object of a snapshot: one directory, its encoding and its digest. Pure.

Format (v1)::

    {"v":1,"entries":[[name,kind,mode & 0o777,mtime_ns,size,[digests]]]}

sorted by the bytes of the name; a name that is not UTF-8 is ``{"b64": "..."}``. ``kind`` is
``file`` (digests: its chunks of exactly 16 MiB, the last shorter; none for an empty file), ``dir``
(digests: one tree object; size: bytes below it) or ``link`` (digests empty; the target stands in
place of the size, as a string or ``{"b64": ...}``). No owner, no group.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from .errors import InvalidRequest

__all__ = ["CHUNK_BYTES", "MAX_DEPTH", "TreeEntry", "decode_tree", "digest_of", "encode_tree", "is_digest"]

CHUNK_BYTES = 16 << 20
MAX_DEPTH = 200
"""Folders inside each other; deeper ones are refused when sent and when staged."""
_TIME_LIMIT_NS = 1 << 63
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class TreeEntry(Struct, frozen=True, kw_only=True):
    """One name in a directory."""

    name: bytes
    kind: str
    mode: int
    mtime_ns: int
    size_bytes: int = 0
    digests: tuple[str, ...] = ()
    target: bytes = b""


def digest_of(data: bytes | memoryview) -> str:
    """``sha256:<hex>`` of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def is_digest(text: str) -> bool:
    """Whether the text is a digest that we write."""
    return _DIGEST.fullmatch(text) is not None


def encode_tree(entries: Iterable[TreeEntry]) -> bytes:
    """The canonical bytes of a directory."""
    rows = [
        [
            _spell(entry.name),
            entry.kind,
            entry.mode & 0o777,
            entry.mtime_ns,
            _spell(entry.target) if entry.kind == "link" else entry.size_bytes,
            list(entry.digests),
        ]
        for entry in sorted(entries, key=lambda entry: entry.name)
    ]
    return msgspec.json.encode({"v": 1, "entries": rows})


def decode_tree(data: bytes) -> tuple[TreeEntry, ...]:
    """The entries of a directory. Raises InvalidRequest for anything that could leave the tree."""
    try:
        document = msgspec.json.decode(data)
        if not isinstance(document, dict) or document.get("v") != 1:
            raise InvalidRequest("a tree object of an unknown version")
        entries = tuple(_entry(row) for row in document["entries"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"not a tree object: {error}") from None
    names = [entry.name for entry in entries]
    if names != sorted(set(names)):
        raise InvalidRequest("a tree object names an entry twice or out of order")
    return entries


def _entry(row: list[Any]) -> TreeEntry:
    name, kind, mode, mtime_ns, size, digests = row
    raw = _unspell(name)
    if raw in (b"", b".", b"..") or b"/" in raw or b"\0" in raw:
        raise InvalidRequest(f"a tree object holds the name {raw!r}")
    if kind not in ("file", "dir", "link"):
        raise InvalidRequest(f"a tree object holds the kind {kind!r}")
    if not all(isinstance(number, int) for number in (mode, mtime_ns)) or not 0 <= mode <= 0o777:
        raise InvalidRequest("a tree object holds a mode or a time that is no number")
    if not -_TIME_LIMIT_NS < mtime_ns < _TIME_LIMIT_NS:
        raise InvalidRequest("a tree object holds a time that no file system knows")
    if not all(isinstance(digest, str) and is_digest(digest) for digest in digests):
        raise InvalidRequest("a tree object holds a digest that is not sha256")
    if kind == "link":
        target = _unspell(size)
        if not target or b"\0" in target or digests:
            raise InvalidRequest("a tree object holds a link without a target")
        return TreeEntry(name=raw, kind=kind, mode=mode, mtime_ns=mtime_ns, target=target)
    if not isinstance(size, int) or size < 0:
        raise InvalidRequest("a tree object holds a size that is no number")
    wanted = 1 if kind == "dir" else -(-size // CHUNK_BYTES)
    if len(digests) != wanted:
        raise InvalidRequest("a tree object holds the wrong number of digests for a size")
    return TreeEntry(
        name=raw, kind=kind, mode=mode, mtime_ns=mtime_ns, size_bytes=size, digests=tuple(digests)
    )


def _spell(name: bytes) -> str | dict[str, str]:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(name).decode()}


def _unspell(name: object) -> bytes:
    if isinstance(name, str):
        return name.encode()
    if isinstance(name, dict) and set(name) == {"b64"}:
        return base64.b64decode(name["b64"], validate=True)
    raise InvalidRequest("a tree object holds a name that is neither text nor base64")
