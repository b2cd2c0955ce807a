"""A call becomes the bytes of a job's input: pickled once, large parts never copied as a whole."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from ...model.payload import INLINE_BYTES, Payload
from ...model.tree import CHUNK_BYTES, digest_of
from ...wire.http.frames import frame_head
from .errors import CannotSend
from .modules import by_value

__all__ = [
    "MEDIA_TYPE",
    "RUNTIME",
    "VERSION",
    "Input",
    "call_input",
    "deliver",
    "map_input",
    "map_line",
    "packs",
    "put",
]

VERSION = "{}.{}".format(*sys.version_info[:2])
RUNTIME = f"python-pickle/{VERSION}"
MEDIA_TYPE = "application/vnd.shorepower.python-call"

_BUFFER_BYTES = 256 << 10
"""Buffers below this are part of the pickle."""
_OWN_BLOB_BYTES = 1 << 20
"""A part of this size begins a blob of its own, so that the same array sent again is the same blobs."""
_PACK_BYTES = 16 << 20
_PAGE = 10_000
_PLAIN = (int, float, complex, bool, str, bytes, type(None))

Part = bytes | bytearray | memoryview
Function = Callable[..., Any]


class Input:
    """The parts of an input, in order; large ones are those of the objects themselves."""

    def __init__(self, head: bytes, parts: Sequence[Part]) -> None:
        self.head = head
        self.views = [memoryview(part).cast("B") for part in parts if len(memoryview(part).cast("B"))]
        self.size_bytes = len(head) + sum(map(len, self.views))

    def blobs(self) -> Iterator[Part]:
        """Everything, in pieces of at most 16 MiB; the head is the first."""
        yield self.head
        small = bytearray()
        for view in self.views:
            if len(view) < _OWN_BLOB_BYTES:
                if len(small) + len(view) > CHUNK_BYTES:
                    yield small
                    small = bytearray()
                small += view
                continue
            if small:
                yield small
                small = bytearray()
            for start in range(0, len(view), CHUNK_BYTES):
                yield view[start : start + CHUNK_BYTES]
        if small:
            yield small


class _Sink:
    """Keeps what is written as it is: the pickler hands large bytes objects over uncopied."""

    def __init__(self) -> None:
        self.parts: list[Part] = []

    def write(self, data: Any) -> None:
        self.parts.append(data if isinstance(data, bytes) else memoryview(data).cast("B"))


class Pickled(Struct, frozen=True):
    """A pickle and its buffers."""

    parts: list[Any]
    buffers: list[memoryview]

    @property
    def sizes(self) -> list[int]:
        """Bytes of the pickle, then of each buffer."""
        return [sum(map(len, self.parts)), *map(len, self.buffers)]


def pickled(value: object) -> Pickled:
    """With large buffers beside the pickle, and the project's modules by value. Raises whatever the
    object's own pickling raises."""
    import cloudpickle

    sink, buffers = _Sink(), list[memoryview]()

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:
            return True  # not contiguous: copied into the pickle
        if view.nbytes < _BUFFER_BYTES:
            return True
        buffers.append(view)
        return False

    with by_value():
        cloudpickle.Pickler(sink, 5, buffer_callback=keep).dump(value)  # type: ignore[arg-type]
    return Pickled(sink.parts, buffers)


def call_input(function: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Input:
    """Raises CannotSend naming what cannot be pickled."""
    try:
        made = pickled((function, tuple(args), dict(kwargs)))
    except Exception as error:
        raise _blame(error, function, args, kwargs) from error
    return Input(_head("call", made.sizes), [*made.parts, *made.buffers])


def map_input(
    function: Function, items: Iterable[tuple[Any, ...]], tasks: Callable[[int], int]
) -> tuple[Input, int]:
    """(the input, how many items there are). ``tasks`` tells by that number how many tasks share them.
    Raises CannotSend."""
    try:
        made = pickled(function)
    except Exception as error:
        raise _blame(error, function, (), {}) from error
    data, offsets = _items(items)
    count = len(offsets) - 1
    head = _head("map", made.sizes) + map_line(count, tasks(count))
    table = struct.pack(f"<{len(offsets)}Q", *offsets)
    return Input(head, [*made.parts, *made.buffers, table, *data]), count


def map_line(count: int, tasks: int, chosen: str = "all") -> bytes:
    """The third line of a map's head."""
    return f"{count} {tasks} {chosen}\n".encode()


def _items(items: Iterable[tuple[Any, ...]]) -> tuple[list[Part], list[int]]:
    """(the pickled arguments of each item, where each begins and the last one ends)."""
    import cloudpickle

    sink, offsets, at = _Sink(), [0], 0
    pickler = cloudpickle.Pickler(sink, 5)  # type: ignore[arg-type]
    number, done = 0, 0
    with by_value():
        for number, args in enumerate(items):
            try:
                if all(type(value) in _PLAIN and not _is_large(value) for value in args):
                    sink.write(pickle.dumps(args, 5))
                else:
                    pickler.dump(args)
                    pickler.clear_memo()
            except Exception as error:
                told = f"item {number} cannot be sent: {_first_line(error)}"
                raise CannotSend(told) from error
            at += sum(map(len, sink.parts[done:]))
            done = len(sink.parts)
            offsets.append(at)
    return _joined(sink.parts), offsets


def _is_large(value: object) -> bool:
    return type(value) is bytes and len(value) >= _BUFFER_BYTES


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Many small ones as few."""
    joined: list[Part] = []
    small = bytearray()
    for part in parts:
        if len(part) < _OWN_BLOB_BYTES and len(small) < _OWN_BLOB_BYTES:
            small += part
            continue
        if small:
            joined.append(small)
        small = bytearray()
        if len(part) < _OWN_BLOB_BYTES:
            small += part
        else:
            joined.append(part)
    return [*joined, small]


def _head(kind: str, sizes: Sequence[int]) -> bytes:
    words = ["shorepower-python", "1", kind, VERSION, *map(str, sizes)]
    caller = sys.executable.replace("\n", " ")
    return " ".join(words).encode() + b"\n" + os.fsencode(caller) + b"\n"


def _blame(
    error: Exception, function: Function, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> CannotSend:
    """Which part it is that cannot be pickled."""
    named = getattr(function, "__qualname__", None) or type(function).__qualname__
    suspects = [(f"argument {number}", value) for number, value in enumerate(args, 1)]
    suspects += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for what, value in suspects:
        try:
            pickled(value)
        except Exception as own:
            kind = type(value).__qualname__
            return CannotSend(f"{what} of {named}, a {kind}, cannot be sent: {_first_line(own)}")
    return CannotSend(f"the function {named} cannot be sent: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def deliver(
    made: Input,
    *,
    missing: Callable[[Sequence[str]], Sequence[str]],
    send: Callable[[bytes], None],
) -> Payload:
    """Send what the server lacks, 16 MiB at a time; up to 64 KiB travel in the job's own record."""
    if made.size_bytes <= INLINE_BYTES:
        inline = b"".join([made.head, *made.views])
        return Payload(media_type=MEDIA_TYPE, runtime=RUNTIME, inline=inline, size_bytes=len(inline))
    return Payload(
        media_type=MEDIA_TYPE,
        runtime=RUNTIME,
        blobs=_send(made.blobs, missing, send),
        size_bytes=made.size_bytes,
    )


def put(
    data: bytes,
    *,
    missing: Callable[[Sequence[str]], Sequence[str]],
    send: Callable[[bytes], None],
) -> tuple[str, ...]:
    """Some bytes as blobs; their digests."""
    parts = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    return _send(lambda: iter(parts), missing, send)


def _send(
    blobs: Callable[[], Iterator[Part]],
    missing: Callable[[Sequence[str]], Sequence[str]],
    send: Callable[[bytes], None],
) -> tuple[str, ...]:
    """Send those that are missing; all digests. The blobs are gone through twice, and not kept."""
    digests = tuple(digest_of(memoryview(blob)) for blob in blobs())
    wanted: set[str] = set()
    for start in range(0, len(digests), _PAGE):
        wanted.update(missing(list(dict.fromkeys(digests[start : start + _PAGE]))))
    for pack in packs(zip(digests, blobs(), strict=True), wanted):
        send(pack)
    return digests


def packs(blobs: Iterable[tuple[str, Part]], wanted: set[str]) -> Iterator[bytes]:
    """Bodies of at most 16 MiB and a little, each wanted blob once."""
    frames: list[Part] = []
    size = 0
    for digest, blob in blobs:
        if digest not in wanted:
            continue
        wanted.discard(digest)
        if frames and size + len(blob) > _PACK_BYTES:
            yield b"".join(frames)
            frames, size = [], 0
        frames += [frame_head({"digest": digest}, len(blob)), blob]
        size += len(blob)
    if frames:
        yield b"".join(frames)
