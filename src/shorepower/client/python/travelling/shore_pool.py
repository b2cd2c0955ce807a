"""The loop over the items of one task of a map: workers take one item after the other.

Each worker is a process of its own, so that an item which ends its process costs nothing but itself. What
they share lies in a few bytes of memory, guarded by a lock on the file of records.
"""

import fcntl
import io
import mmap
import os
import struct
import sys

import shore_runner

CAPS = (
    "OMP_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS BLIS_NUM_THREADS NUMEXPR_NUM_THREADS "
    "RAYON_NUM_THREADS JULIA_NUM_THREADS POLARS_MAX_THREADS MC_CORES R_DATATABLE_NUM_THREADS"
).split()
WORD = struct.Struct("<q")
IDLE = -1


def run(log, source, sizes):
    """Run the items of this task; the exit code."""
    count, tasks, chosen = source.readline().decode().split(" ", 2)
    items = _mine(_chosen(chosen.strip(), int(count)), int(tasks))
    left = [item for item in items if item not in log.done]
    cpus = int(float(os.environ.get("SHOREPOWER_CPUS", 1)))
    workers = max(1, min(cpus, len(left)))
    if workers > 1:  # as many threads in each as there are cpus would be too many
        for name in CAPS:
            if os.environ.get(name) == str(cpus):
                os.environ[name] = "1"
    try:
        function = shore_runner.load(source, sizes)
    except BaseException as error:
        return log.error(-1, error, why="what was sent cannot be unpickled there")
    table = source.tell()
    whole = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    pool = Pool(log, function, Items(whole, table, int(count)), left)
    pool.run(workers)
    failed = pool.failed() or any(log.done.get(item) == "error" for item in items)
    return 1 if failed else 0


class Items:
    """The arguments of each item, unpickled when they are asked for."""

    def __init__(self, whole, table, count):
        self._whole, self._table = memoryview(whole), table
        self._data = table + 8 * (count + 1)

    def __getitem__(self, item):
        start, end = struct.unpack_from("<QQ", self._whole, self._table + 8 * item)
        return shore_runner.unpickle(io.BytesIO(self._whole[self._data + start : self._data + end]))


class Pool:
    """Some workers over some items. Shared: next, failed, a record is begun, the item of each worker."""

    def __init__(self, log, function, items, left):
        self._log, self._function, self._items, self._left = log, function, items, left

    def failed(self):
        """Whether any item came to nothing."""
        return bool(self._get(1))

    def run(self, workers):
        """Until every item has an outcome."""
        self.alone = workers == 1
        self._shared = mmap.mmap(-1, 8 * (3 + workers))
        self._put(2, IDLE)
        running = {}
        for number in range(workers):
            self._put(3 + number, IDLE)
            running[self._fork(number)] = number
        while running:
            pid, status = os.wait()
            number = running.pop(pid, None)
            if number is None:
                continue  # a child of nobody that we know
            item = self._get(3 + number)
            if item != IDLE:
                self._lost(number, item, status)
            if self._get(0) < len(self._left):
                running[self._fork(number)] = number

    def _fork(self, number):
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._work(number)
            code = 0
        except BaseException as error:
            shore_runner._say(shore_runner._traceback(error, 0))
        finally:
            shore_runner._say("")
            os._exit(code)

    def _work(self, number):
        log = Shared(self)
        shore_runner.record_warnings(log, lambda: self._get(3 + number))
        while True:
            with log:
                at = self._get(0)
                self._put(0, at + 1)
                if at >= len(self._left):
                    self._put(3 + number, IDLE)
                    return
                item = self._left[at]
                self._put(3 + number, item)
            try:
                args = self._items[item]
            except BaseException as error:
                log.error(item, error, why="item %d cannot be unpickled there" % item)
                continue
            shore_runner.attempt(log, item, self._function, args, {})

    def _lost(self, number, item, status):
        """A worker's process ended in the middle of an item."""
        how = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "exit %d" % (status >> 8)
        error = RuntimeError("the process that ran item %d ended by %s" % (item, how))
        Shared(self).error(item, error, why="the process was lost", pickled=False)
        self._put(3 + number, IDLE)

    def _get(self, at):
        return WORD.unpack_from(self._shared, 8 * at)[0]

    def _put(self, at, value):
        WORD.pack_into(self._shared, 8 * at, value)


class Shared(shore_runner.Log):
    """The file of records, written by several processes; what its writer did not end is made void."""

    of = "map"

    def __init__(self, pool):
        self._pool = pool
        self.path = pool._log.path
        self.fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)

    def __enter__(self):
        if not self._pool.alone:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        if self._pool._get(2) != IDLE:
            self.done = {}
            self._read()
            self._pool._put(2, IDLE)

    def __exit__(self, *exc):
        if not self._pool.alone:
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def error(self, *args, **more):
        self._pool._put(1, 1)
        return super().error(*args, **more)

    def _write(self, parts):
        with self:
            self._pool._put(2, 1)
            super()._write(parts)
            self._pool._put(2, IDLE)


def _chosen(text, count):
    if text == "all":
        return range(count)
    chosen = []
    for span in text.split(","):
        first, _, last = span.partition("-")
        chosen.extend(range(int(first), int(last or first) + 1))
    return chosen


def _mine(items, tasks):
    """The part of the items that this task runs: as even as can be, in order."""
    first = int(os.environ.get("SHOREPOWER_TASK_INDEX", 0))
    share, more = divmod(len(items), tasks)
    start = first * share + min(first, more)
    return list(items[start : start + share + (first < more)])
