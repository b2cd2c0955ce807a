"""From a command line to a job that is submitted: with the questions and lines of a person's terminal."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .live import LiveLine
from .voice import ENDING, is_terminal, say

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.find import FoundProject
    from ..client.options import Options
    from ..client.prepare import Prepared
    from ..client.upload import SendProgress, Sent
    from ..model.errors import Fault
    from ..model.job import Job

__all__ = ["Launched", "ask_secret", "asks", "launch", "prepared_for"]


class Launched:
    """A job that is on the server's disk, and how it came there."""

    def __init__(self, job: Job, prepared: Prepared, sent: Sent | None) -> None:
        self.job, self.prepared, self.sent = job, prepared, sent


def asks() -> bool:
    """Whether there is a person to ask."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def launch(
    client: Client,
    words: Sequence[str],
    options: Options,
    faults: Sequence[Fault] = (),
    *,
    quiet: bool = False,
) -> Launched:
    """Prepare, send, submit. Ctrl-C before the acknowledgement leaves nothing behind. Raises InvalidRequest
    with ``faults``, which are known already, and all others."""
    from ..client.client import new_key
    from ..client.deliver import deliver, submit
    from .render.asked import asked_line
    from .render.quiet import saved_lines, sent_line

    with _leaving_nothing():
        prepared = prepared_for(client, words, options, faults)
        for note in prepared.notes:
            say(note)
        with LiveLine() as line:
            sent = deliver(client, prepared, progress=_progress(line))
        if not quiet:
            say(sent_line(prepared, sent))
            if prepared.array is not None:
                say(prepared.array.line())
            asked = asked_line(
                prepared.spec.resources, enforces_memory=prepared.enforces_memory, need=prepared.need
            )
            if asked:
                say(asked)
            if linked := _linked_line(prepared):
                say(linked)
    with _held_back() as interrupted:
        job = submit(client, prepared, sent, new_key())
    if interrupted():
        _withdraw(client, job)
    if not quiet:
        for line in saved_lines(prepared.spec, job):
            say(line)
    return Launched(job, prepared, sent)


def prepared_for(
    client: Client, words: Sequence[str], options: Options, faults: Sequence[Fault] = ()
) -> Prepared:
    """What would be submitted; asks at a terminal what has to be asked."""
    from ..client.prepare import prepare
    from ..client.view import ProjectTooLarge

    def attempt(chosen: Options) -> Prepared:
        return prepare(
            client,
            words,
            chosen,
            ask_secret=ask_secret if asks() else None,
            ask_ignored=_ask_ignored if asks() else None,
            own_stdin=sys.stdin.buffer,
            faults=faults,
        )

    try:
        return attempt(options)
    except ProjectTooLarge as large:
        if not asks():
            raise
        from msgspec.structs import replace

        say(str(large))
        if not click.confirm("shore: send it all the same?", default=False, err=True):
            raise
        return attempt(replace(options, max_send_bytes=1 << 62))


def _linked_line(prepared: Prepared) -> str:
    """What a job could write into by accident: large folders that are linked, not copied."""
    view = prepared.view
    if view is None or not any(one.linked and one.path.endswith("/") for one in view.not_sent):
        return ""
    return view.linked_line()


def ask_secret(name: str) -> str:
    """From the person at the terminal, unseen."""
    return click.prompt(f"shore: {name}", hide_input=True, err=True)


def _ask_ignored(found: FoundProject) -> bool:
    """Asked once for a project that goes elsewhere; the answer is kept in its ``shore.toml``."""
    answer = click.confirm(
        f"shore: {found.root.name}/ goes to another machine for the first time; does what git ignores "
        "there (data, results) go along?",
        default=False,
        err=True,
    )
    _write_setting(found.root / "shore.toml", "send_ignored", answer)
    return answer


def _write_setting(file: Path, key: str, value: bool) -> None:
    import tomlkit

    try:
        document = tomlkit.parse(file.read_text()) if file.exists() else tomlkit.document()
        document.setdefault("run", tomlkit.table())[key] = value
        file.write_text(tomlkit.dumps(document))
    except OSError as error:
        say(f"the answer could not be kept in {file}: {error.strerror}")
    else:
        say(f"kept in {file.name}: [run] {key} = {str(value).lower()}")


def _progress(line: LiveLine) -> Callable[[SendProgress], None]:
    from ..model.resources import format_duration
    from .render.figures import format_bytes

    began = time.monotonic()

    def show(at: SendProgress) -> None:
        if at.total_bytes > 1 << 20:
            amount = f"{format_bytes(at.done_bytes)} of {format_bytes(at.total_bytes)}"
            line.show(f"{at.phase}  {amount}  {format_duration(time.monotonic() - began)}")

    return show


@contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Say, for Ctrl-C and a closed terminal, that nothing was submitted."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    numbers = ENDING if _main() else ()
    kept = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    except KeyboardInterrupt:
        say("nothing was submitted")
        raise SystemExit(130) from None
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


@contextmanager
def _held_back() -> Iterator[Callable[[], bool]]:
    """Ctrl-C waits while the submit is on its way, so that it is known whether it was recorded; a second
    one does not wait."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        if seen:
            say("whether it was submitted is not known: shore ps tells")
            os._exit(130)
        seen.append(number)

    numbers = (signal.SIGINT, *ENDING) if _main() else ()
    kept = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _withdraw(client: Client, job: Job) -> Any:
    """Interrupted before the acknowledgement was here: nothing is to run."""
    from ..model.errors import ShorepowerError
    from ..model.lifecycle import Operation
    from .render.figures import short_id

    try:
        client.control(job.id, Operation.KILL)
        say(f"withdrawn: {short_id(job.id)} ({job.name})")
    except ShorepowerError as error:
        say(f"{short_id(job.id)} was submitted and could not be withdrawn: {error}")
    raise SystemExit(130)


def _main() -> bool:
    return threading.current_thread() is threading.main_thread()
