"""The server's log: one JSON object a line, bounded, and never with anything that users own.

No arguments, environments or file names are written: of an exception only its class and where in our
code it was raised.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog

__all__ = ["LogFile", "describe", "set_up"]

_LIMIT_BYTES = 5 << 20
_FRAMES = 12


class LogFile:
    """``server.log``; what is older than its limit moves to ``server.log.1``, and what was there goes."""

    def __init__(self, path: Path, *, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._path, self._limit = path, limit_bytes
        self._lock = threading.Lock()
        self._descriptor = self._open()
        if self._size >= limit_bytes:
            self._rotate()

    def write(self, line: str) -> None:
        """Append one line; a disk that refuses it loses it, and nothing else."""
        data = line.encode(errors="replace") + b"\n"
        with self._lock:
            if self._size + len(data) > self._limit:
                self._rotate()
            try:
                os.write(self._descriptor, data)
            except OSError:
                return  # there is no place left to complain to
            self._size += len(data)

    def close(self) -> None:
        """Twice is harmless."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(descriptor).st_size
        return descriptor

    def _rotate(self) -> None:
        old = self._descriptor
        try:
            self._path.rename(self._path.with_name(self._path.name + ".1"))
            self._descriptor = self._open()
        except OSError:
            self._size = 0  # go on in the old file; try again after as much again
            return
        _redirect(old, self._descriptor)
        os.close(old)


def set_up(file: LogFile) -> None:
    """Send structlog and the standard library's loggers there."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _without_exception,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Sink(file),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).disabled = True


def describe(error: BaseException) -> dict[str, Any]:
    """An exception for the log: classes and places in code, never the sentence it carries."""
    told: dict[str, Any] = {"error": _kind(error), "where": _places(error)}
    if isinstance(error, OSError) and error.errno is not None:
        told["errno"] = error.errno
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        told["cause"] = _kind(cause)
        told["cause_where"] = _places(cause)
    if isinstance(error, BaseExceptionGroup):
        told["parts"] = [describe(part) for part in error.exceptions[:5]]
    return told


class _Sink:
    """What structlog calls with a rendered line."""

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def msg(self, line: str) -> None:
        self._file.write(line)

    debug = info = warning = error = critical = exception = log = msg


class _Handler(logging.Handler):
    """Records of other libraries, cut to their first line."""

    def emit(self, record: logging.LogRecord) -> None:
        more = describe(record.exc_info[1]) if record.exc_info and record.exc_info[1] else {}
        # The arguments are left out: a message may be about a path or a value.
        structlog.get_logger(record.name).log(
            record.levelno, str(record.msg).split("\n", 1)[0][:200], logger=record.name, **more
        )


def _without_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Turn ``exc_info`` into what may be written."""
    told = event.pop("exc_info", None)
    error = sys.exc_info()[1] if told is True else told[1] if isinstance(told, tuple) else told
    if isinstance(error, BaseException):
        event.update(describe(error))
    return event


def _kind(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def _places(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]


def _module(filename: str) -> str:
    """``shorepower/server/gate.py`` of a path of an installed module."""
    parts = Path(filename).parts
    for root in ("shorepower", "site-packages"):
        if root in parts:
            return "/".join(parts[len(parts) - 1 - parts[::-1].index(root) :])
    return parts[-1] if parts else filename


def _redirect(old: int, new: int) -> None:
    """Let stdout and stderr follow the file where they were the file."""
    was = os.fstat(old)
    for standard in (1, 2):
        try:
            now = os.fstat(standard)
        except OSError:
            continue
        if (now.st_dev, now.st_ino) == (was.st_dev, was.st_ino):
            os.dup2(new, standard)
