"""``%%shore`` runs a cell as a job, ``%shore`` says a line to the command line. Needs IPython."""

from __future__ import annotations

import codecs
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Sequence
from contextvars import copy_context
from typing import IO, TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.utils.process import arg_split

from ...model.lifecycle import State
from ...model.output import OutputPiece, Stream
from ..errors import JobFailed
from ..handle import JobHandle
from ..options import Options, read_options
from ..python.interpreter import choose_python
from ..python.sources import send_source
from .cell import MEDIA_TYPES, python_archive
from .live import LiveView, in_notebook

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["CellFailed", "CellInterrupted", "ShoreMagics"]

_PROGRAMS = {"bash": "bash", "r": "Rscript"}
END_S = 5.0
"""How long a command line may take to end once it was interrupted."""


class CellFailed(JobFailed):
    """The job of a cell ended as FAILED or CANCELED. What it wrote stands above, so one line is enough."""

    def _render_traceback_(self) -> list[str]:
        return [f"CellFailed: {self}"]


class CellInterrupted(KeyboardInterrupt):
    """The kernel was interrupted while a cell's job ran."""

    def _render_traceback_(self) -> list[str]:
        return [f"KeyboardInterrupt: {self}"]


@magics_class
class ShoreMagics(Magics):
    """See `load_ipython_extension`."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell)
        self._shell = shell
        self._made: Client | None = None

    @magic_arguments("%%shore")
    @argument("--bash", action="store_true", help="the cell is a script of bash")
    @argument("--r", action="store_true", help="the cell is a script of R")
    @argument("-i", "--in", dest="inputs", action="append", default=[], metavar="NAMES",
              help="variables that the cell gets, as data,seed")  # fmt: skip
    @argument("-o", "--result", dest="outputs", action="append", default=[], metavar="NAMES",
              help="variables of the cell that come back here")  # fmt: skip
    @argument(
        "--out", metavar="NAME", help="put standard output into this variable, and show nothing of it"
    )
    @argument("--err", metavar="NAME", help="the same for standard error")
    @argument("--bg", action="store_true", help="return at once; what is shown goes on being up to date")
    @argument("--job", metavar="NAME", help="put the handle of the job into this variable")
    @argument("--no-raise-error", action="store_true", help="raise nothing when the job fails")
    @argument("--no-pull", action="store_true", help="leave what it writes on the server")
    @argument("--on", help="the cluster")
    @argument("-q", "--queue")
    @argument("-n", "--name", help="of the job")
    @argument("-c", "--cpus")
    @argument("-m", "--memory", "--mem", dest="memory", help="as 8G")
    @argument("-t", "--time", help="as 30m, 2h")
    @argument("-g", "--gpus")
    @argument("-e", "--env", action="append", default=[], metavar="K=V")
    @argument("--secret", dest="secrets", action="append", default=[], metavar="NAME")
    @argument("--python", help="the interpreter; this notebook's own if none is named")
    @line_cell_magic
    def shore(self, line: str, cell: str | None = None) -> None:
        """Run a cell as a job (%%shore), or a command of shore (%shore ps)."""
        if cell is None:
            self._say_line(arg_split(line, posix=True))
            return
        asked = self.shore.parser.parse_args(arg_split(line, posix=True))
        _check(asked)
        handle = self._send(asked, cell)
        if asked.job:
            self._shell.user_ns[asked.job] = handle
        if asked.bg:
            handle._ipython_display_()
            return
        self._attend(asked, handle)

    # a cell

    def _send(self, asked: Namespace, cell: str) -> JobHandle:
        kind = "bash" if asked.bash else "r" if asked.r else "python"
        options = _options(asked, f"cell-{len(self._shell.user_ns['In']) - 1}")
        if kind == "python":
            inputs = {name: self._variable(name) for name in _names(asked.inputs)}
            source = python_archive(cell, inputs, _names(asked.outputs))
            here = bool(self._client.transport.address.socket)
            program = choose_python(asked.python, here=here, env=self._client.environ)
        else:
            source, program = cell.encode(), _PROGRAMS[kind]
        return send_source(self._client, program, source, (), options, media_type=MEDIA_TYPES[kind])

    def _attend(self, asked: Namespace, handle: JobHandle) -> None:
        """Follow it to its end, bring home what it made."""
        view = LiveView(handle.client, handle.job, tail=False) if in_notebook() else None
        if view is not None:
            view.begin()
        written = _Written(kept={Stream.STDOUT: asked.out, Stream.STDERR: asked.err})
        try:
            for piece in handle.output():
                written.take(piece)
            job = handle.wait(check=False)
            notes = [] if asked.no_pull else _pulled(handle)
        except KeyboardInterrupt:
            raise self._interrupted(handle, view) from None
        finally:
            self._shell.push(written.variables())
        if view is not None:
            view.end(job, *notes)
        elif notes:
            _tell("; ".join(notes))
        if job.state is State.COMPLETED and asked.outputs:
            self._shell.push(handle.result())
        elif job.state is not State.COMPLETED and not asked.no_raise_error:
            raise CellFailed(job)

    def _interrupted(self, handle: JobHandle, view: LiveView | None) -> CellInterrupted:
        if handle.client.settings.run.on_interrupt == "leave":
            job, told = handle.refresh(), f"job {handle.id} is left running"
        else:
            job, told = handle.stop(), f"job {handle.id} is being stopped"
        if view is not None:
            view.note(job, told)
        return CellInterrupted(told)

    def _variable(self, name: str) -> Any:
        try:
            return self._shell.user_ns[name]
        except KeyError:
            raise NameError(f"-i {name}: there is no variable {name!r} in this notebook") from None

    @property
    def _client(self) -> Client:
        if self._made is None:
            from ..client import Client

            self._made = Client(say=_tell)
        return self._made

    # a line

    def _say_line(self, words: Sequence[str]) -> None:
        """Run the command line in a process of its own; ``_exit_code`` is its exit code, as with ``!``."""
        process = subprocess.Popen(
            [sys.executable, "-m", "shorepower", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupt reaches it once, from here
        )
        assert process.stdout is not None
        assert process.stderr is not None
        copiers = [
            threading.Thread(target=copy_context().run, args=(_copy, source, stream), daemon=True)
            for source, stream in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
        ]
        for copier in copiers:
            copier.start()
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = _interrupt(process)
        for copier in copiers:
            copier.join(END_S)
        self._shell.user_ns["_exit_code"] = code


class _Written:
    """Shows what a job writes, or keeps it for a variable."""

    def __init__(self, kept: dict[Stream, str | None]) -> None:
        self._kept = {stream: (name, list[str]()) for stream, name in kept.items() if name}
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {stream: make("replace") for stream in Stream}

    def take(self, piece: OutputPiece) -> None:
        if piece.kind == "gap":
            _tell(f"[{piece.missing_bytes} bytes of output are not kept]")
        if piece.kind != "output":
            return
        text = self._decoders[piece.stream].decode(piece.data)
        if piece.stream in self._kept:
            self._kept[piece.stream][1].append(text)
        else:
            target = sys.stderr if piece.stream is Stream.STDERR else sys.stdout
            target.write(text)
            target.flush()

    def variables(self) -> dict[str, str]:
        return {name: "".join(texts) for name, texts in self._kept.values()}


def _tell(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _check(asked: Namespace) -> None:
    """Raises UsageError for what does not go together."""
    names = [*_names(asked.inputs), *_names(asked.outputs), asked.out, asked.err, asked.job]
    for name in names:
        if name and not name.isidentifier():
            raise UsageError(f"{name!r} is no name of a variable")
    if asked.bash and asked.r:
        raise UsageError("a cell is either --bash or --r")
    if (asked.bash or asked.r) and (asked.inputs or asked.outputs or asked.python):
        raise UsageError(
            "-i, -o and --python are for cells of Python; --bash takes -e NAME=VALUE and --out"
        )
    if asked.bg and (asked.outputs or asked.out or asked.err):
        raise UsageError("nothing comes back with --bg; take --job NAME, then NAME.result() or NAME.logs()")


def _options(asked: Namespace, name: str) -> Options:
    given = {
        key: getattr(asked, key)
        for key in ("on", "queue", "cpus", "memory", "time", "gpus", "env", "secrets")
        if getattr(asked, key)
    }
    return read_options({"name": asked.name or name, **given})


def _names(given: Sequence[str]) -> list[str]:
    return [name.strip() for text in given for name in text.split(",") if name.strip()]


def _pulled(handle: JobHandle) -> list[str]:
    report = handle.pull()
    count = len(report.written) + len(report.beside)
    notes = [f"{count} file{'s' if count != 1 else ''} came home"] if count else []
    notes += [f"{path} is at {where}: another file lies there" for path, where in report.beside]
    return [*notes, *report.faults]


def _copy(source: IO[bytes], target: Any) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := source.read1(8192):  # type: ignore[attr-defined]
        target.write(decoder.decode(data))
        target.flush()


def _interrupt(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    try:
        return process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
