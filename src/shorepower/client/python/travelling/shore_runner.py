"""Runs one call, or the items of one task of a map, inside a job. It travels with the job.

Standard library and the cloudpickle that travels along only; Python 3.8 or later. What takes long to
import is imported where it is needed: a call costs little more than the start of its interpreter.

Input (``SHOREPOWER_INPUT``): lines, then sections one after the other::

    shorepower-python 1 call 3.11 <bytes of the pickle> <bytes of each buffer> ...
    /path/of/the/caller's/python

    shorepower-python 1 map 3.11 <bytes of the function's pickle> <of each buffer> ...
    /path/of/the/caller's/python
    <items> <tasks> <the items to run: all, or 0-9,17>

The sections of a map are followed by items + 1 offsets (8 bytes, little-endian) and the pickled
arguments of each item, to which they point.

Output (``SHOREPOWER_RESULT``): records that are only ever appended, each a line of JSON, as many bytes as
its ``size`` says, and one byte: a newline, or ``x`` for a record that is void. ``sizes`` are those of the
pickle and of its buffers; of an error, those of its pickle (0: it cannot be pickled) and of a JSON text.
"""

import io
import os
import sys
from _pickle import Pickler, Unpickler  # without pickle.py, which imports much

VERSION = "%d.%d" % sys.version_info[:2]
RUNTIME = "python-pickle/" + VERSION
BUFFER_BYTES = 256 << 10
MOST_WARNINGS = 100
HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    """Run what the environment names; the exit code."""
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != HERE]
    log = Log(os.environ["SHOREPOWER_RESULT"])
    with open(os.environ["SHOREPOWER_INPUT"], "rb") as source:
        head = source.readline().split()
        caller = os.fsdecode(source.readline().rstrip(b"\n"))
        kind, version = head[2].decode(), head[3].decode()
        sizes = [int(word) for word in head[4:]]
        log.of = kind
        if version != VERSION:
            return refuse(log, kind, version, caller)
        if kind == "call":
            return call(log, source, sizes)
        return travelling("shore_pool").run(log, source, sizes)


def travelling(name):
    """A module that lies beside this file; nothing else is found there, whatever it is called."""
    sys.path.insert(0, HERE)
    try:
        return __import__(name)
    finally:
        sys.path.remove(HERE)


def call(log, source, sizes):
    """Run a call; one that has an outcome on record is not run again."""
    if log.done:
        return log.code(0)
    record_warnings(log, 0)
    try:
        function, args, kwargs = load(source, sizes)
    except BaseException as error:
        return log.error(0, error, why="what was sent cannot be unpickled there")
    return attempt(log, 0, function, args, kwargs)


def attempt(log, item, function, args, kwargs):
    """Run the function and append what comes of it; the exit code."""
    try:
        value = function(*args, **kwargs)
    except BaseException as error:
        return log.error(item, error, skip=1)
    try:
        sections = dump(value)
    except BaseException as error:
        kind = type(value)
        named = "%s.%s" % (kind.__module__, kind.__qualname__)
        return log.error(item, error, why="the value, a %s, cannot be sent back" % named)
    log.append(item, "value", sections)
    return 0


def refuse(log, kind, version, caller):
    told = (
        "the function was pickled by Python %s (%s), the job runs Python %s (%s): they have to be the same"
    )
    error = RuntimeError(told % (version, caller, VERSION, sys.executable))
    return log.error(0 if kind == "call" else -1, error, why="wrong Python", pickled=False)


# pickles


def load(source, sizes):
    """An object of an open file that stands at its pickle; large parts are read to where they stay."""
    start = source.tell()
    source.seek(sum(sizes[:1]), io.SEEK_CUR)
    buffers = [_exactly(source, size) for size in sizes[1:]]
    end = source.tell()
    source.seek(start)
    try:
        return unpickle(source, buffers)
    finally:
        source.seek(end)


def _exactly(source, size):
    buffer = bytearray(size)
    if source.readinto(buffer) != size:
        raise EOFError("the input ends too early")
    return buffer


def unpickle(source, buffers=()):
    """An object of a file. Functions alone need no cloudpickle: making them takes a few lines of it."""
    if "cloudpickle" in sys.modules:
        return Unpickler(source, buffers=buffers).load()
    lean = sys.modules["cloudpickle"] = sys.modules["cloudpickle.cloudpickle"] = Lean("cloudpickle")
    try:
        return Unpickler(source, buffers=buffers).load()
    finally:
        for name in ("cloudpickle", "cloudpickle.cloudpickle"):
            if sys.modules.get(name) is lean:
                del sys.modules[name]


class Lean(type(sys)):
    """Stands for cloudpickle until something is asked for that is not among its simple parts."""

    def __getattr__(self, name):
        if name in ("__spec__", "__loader__", "__package__", "__class__"):
            raise AttributeError(name)
        found = getattr(travelling("shore_lean"), name, None) if name[:2] != "__" else None
        if found is not None:
            return found
        for known in ("cloudpickle", "cloudpickle.cloudpickle"):
            if sys.modules.get(known) is self:
                del sys.modules[known]
        inner = cloudpickle()
        return getattr(inner, name) if hasattr(inner, name) else getattr(sys.modules["cloudpickle"], name)


def cloudpickle():
    """Its inner module: of the one that is imported already, else of the one that travels."""
    travelling("cloudpickle.cloudpickle")
    return sys.modules["cloudpickle.cloudpickle"]


def dump(value):
    """[pickle, buffers...], each a list of parts; large bytes and buffers are those of the value itself."""
    try:
        return _dump(Pickler, value)
    except Exception:  # functions and classes of its own do not go by reference; or it does not go at all
        return _dump(cloudpickle().Pickler, value)


def _dump(make, value):
    buffers = []

    def keep(buffer):
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous: copied into the pickle
            return True
        if view.nbytes < BUFFER_BYTES:
            return True
        buffers.append([view])
        return False

    sink = Sink()
    make(sink, 5, buffer_callback=keep).dump(value)
    return [sink.parts] + buffers


class Sink:
    """Keeps what is written as it is: large bytes objects come here uncopied."""

    def __init__(self):
        self.parts = []

    def write(self, data):
        self.parts.append(data)


# records


class Log:
    """The file of records. Nothing in it is ever changed; what was cut is made void."""

    of = "call"

    def __init__(self, path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.done = {}
        if os.fstat(self.fd).st_size:
            self._read()

    def code(self, item):
        """The exit code of an item that is on record."""
        return 0 if self.done.get(item) == "value" else 1

    def append(self, item, kind, sections):
        """Add one record; ``sections`` are lists of parts."""
        sizes = [sum(memoryview(part).nbytes for part in parts) for parts in sections]
        head = '{"v":1,"of":"%s","item":%d,"kind":"%s","runtime":"%s","sizes":[%s],"size":%d}\n' % (
            self.of,
            item,
            kind,
            RUNTIME,
            ",".join(map(str, sizes)),
            sum(sizes),
        )
        parts = [head.encode()]
        for section in sections:
            parts.extend(section)
        parts.append(b"\n")
        self._write(parts)

    def error(self, item, error, why="", skip=0, pickled=True):
        """Add what went wrong, and say it on stderr; the exit code. ``skip`` frames are the runner's."""
        import json

        text = _traceback(error, skip)
        told = {"type": _name(type(error)), "message": _message(error), "traceback": text, "why": why}
        if isinstance(error, SystemExit):
            told["exit"] = _exit_code(error)
        sections = _pickled_error(error) if pickled and not why and isinstance(error, Exception) else None
        body = json.dumps(told).encode()
        self.append(item, "error", [sections or [], [body]])
        if isinstance(error, SystemExit):
            if not isinstance(error.code, (int, type(None))):
                _say(f"{error.code}\n")
            return told["exit"]
        _say((why + "\n" if why else "") + text)
        return 130 if isinstance(error, KeyboardInterrupt) else 1

    def warning(self, item, message, category, filename, lineno):
        """Add a warning."""
        import json

        told = {"type": _name(category), "message": str(message), "file": filename, "line": lineno}
        self.append(item, "warning", [[json.dumps(told).encode()]])

    def _write(self, parts):
        views = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
        at = 0
        while at < len(views):
            done = os.writev(self.fd, views[at : at + 1000])
            while done and done >= len(views[at]):
                done -= len(views[at])
                at += 1
            if done:
                views[at] = views[at][done:]

    def _read(self):
        """Learn what is on record, from an earlier start of the same task; make a cut record void."""
        import json

        with open(self.path, "rb") as records:
            end = os.fstat(records.fileno()).st_size
            while True:
                line = records.readline()
                if not line:
                    return
                if not line.endswith(b"\n"):
                    os.write(self.fd, b"!\n")
                    return
                try:
                    head = json.loads(line)
                except ValueError:
                    continue
                after = records.tell() + head["size"]
                if after >= end:
                    os.ftruncate(self.fd, after)
                    os.write(self.fd, b"x")
                    return
                records.seek(after)
                if records.read(1) == b"\n" and head["kind"] in ("value", "error"):
                    self.done[head["item"]] = head["kind"]


def record_warnings(log, item):
    """From now on every warning that is shown is on record too, up to a bound."""
    import warnings

    shown = warnings.showwarning
    left = [MOST_WARNINGS]

    def show(message, category, filename, lineno, file=None, line=None):
        if left[0] > 0:
            left[0] -= 1
            log.warning(item() if callable(item) else item, message, category, filename, lineno)
        shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show


def _pickled_error(error):
    """The parts of an exception's pickle; None when it would not come back."""
    return _back(error, error) or _back(Remade(error), error)


def _back(sent, error):
    """The pickle of what becomes the exception again; None when it does not."""
    try:
        sections = dump(sent)
        whole = b"".join(bytes(part) for part in sections[0])
        again = unpickle(io.BytesIO(whole), [buffer[0] for buffer in sections[1:]])
    except BaseException:
        return None
    same = type(again) is type(error) and len(sections) == 1
    return [whole] if same and (sent is error or _message(again) == _message(error)) else None


class Remade:
    """Comes back as the exception, without a call of its ``__init__``: that of many takes other arguments
    than they hand to Exception's. What cannot be pickled of it is left out."""

    def __init__(self, error):
        self._error = error

    def __reduce__(self):
        kept, notes = {}, list(getattr(self._error, "__notes__", ()))
        for name, value in vars(self._error).items():
            try:
                dump(value)
                kept[name] = value
            except BaseException:
                notes.append("its %r stayed in the job: it cannot be pickled" % name)
        if notes:
            kept["__notes__"] = notes
        return BaseException.__new__, (type(self._error), *self._error.args), kept


def _traceback(error, skip):
    import traceback

    inner = error.__traceback__
    while skip and inner is not None and inner.tb_next is not None:
        inner, skip = inner.tb_next, skip - 1
    try:
        return "".join(traceback.format_exception(type(error), error, inner))
    except BaseException as failed:  # an exception whose own words fail
        return "%s (its traceback cannot be shown: %s)\n" % (_name(type(error)), _name(type(failed)))


def _message(error):
    try:
        return str(error)
    except BaseException:
        return ""


def _name(kind):
    return kind.__qualname__ if kind.__module__ == "builtins" else kind.__module__ + "." + kind.__qualname__


def _exit_code(error):
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _say(text):
    try:
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed by the function: it is on record anyway
        pass
