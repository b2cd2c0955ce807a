"""Jobs that are shown in a notebook and go on being up to date, by a thread for each that is shown."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ...model.errors import ShorepowerError
from .. import requests
from .page import Picture, html_of, text_of

if TYPE_CHECKING:
    from ...model.job import Job
    from ..client import Client

__all__ = ["LiveView", "in_notebook", "show"]

TICK_S = 1.0
"""How often what is shown may change."""
TAIL_BYTES = 8 << 10
MOST_WATCHED = 32
"""Jobs that are kept up to date at the same time; of further ones the picture of the moment is shown."""

_places = threading.BoundedSemaphore(MOST_WATCHED)


def show(thing: Any, client: Client | None, job_id: str) -> None:
    """What IPython calls to display a handle, a map or a future. Outside of a notebook: its repr."""
    if client is None or not job_id or not in_notebook():
        print(repr(thing))  # noqa: T201 - IPython asks for it to be shown
        return
    try:
        job = client.job(job_id)
    except ShorepowerError as error:
        print(f"{thing!r}: {error}")  # noqa: T201
        return
    LiveView(client, job).begin()


class LiveView:
    """One place of a notebook's output. ``tail``: with the last of what the job wrote."""

    def __init__(self, client: Client, job: Job, *, tail: bool = True) -> None:
        self._client, self._job, self._with_tail = client, job, tail
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._notes: tuple[str, ...] = ()
        self._tail = ""
        self._last: dict[str, str] = {}
        self._handle: Any = None

    def begin(self) -> None:
        """Show it, and follow it to its end in the background."""
        from IPython.display import display

        if self._with_tail:
            self._read_tail()
        self._last = self._bundle()
        self._handle = display(self._last, raw=True, display_id=True)
        if self._job.state.ended or not _places.acquire(blocking=False):
            return
        # The messages of a thread belong to the cell that shows the job, whatever runs meanwhile.
        follow = contextvars.copy_context().run
        threading.Thread(target=follow, args=(self._follow,), name="shorepower-live", daemon=True).start()

    def note(self, job: Job, *notes: str) -> None:
        """Say something beside it; it is followed as before."""
        with self._lock:
            self._job, self._notes = job, notes
        self._update()

    def end(self, job: Job, *notes: str) -> None:
        """Show how it ended, and follow it no longer."""
        self._over.set()
        with self._lock:
            self._job, self._notes = job, notes
        self._update()

    def _follow(self) -> None:
        try:
            while not self._over.is_set() and not self._job.state.ended:
                self._refresh()
        except ShorepowerError as error:
            self._notes = (f"not followed any more: {error}",)
            self._update()
        except Exception:
            self._over.set()  # the kernel ends: nobody is left to show it to
        finally:
            _places.release()

    def _refresh(self) -> None:
        began = time.monotonic()
        call = requests.job(self._job.id, revision=self._job.revision, wait_s=TICK_S)
        job = self._client.patiently(call)
        with self._lock:
            if self._over.is_set():
                return
            self._job = job
        if self._with_tail:
            self._read_tail()
        self._update()
        self._over.wait(max(0.0, TICK_S - (time.monotonic() - began)))

    def _read_tail(self) -> None:
        pieces = self._client.output(self._job.id, follow=False, tail_bytes=TAIL_BYTES)
        data = b"".join(piece.data for piece in pieces)
        self._tail = data[-TAIL_BYTES:].decode(errors="replace")

    def _update(self) -> None:
        with self._lock:
            bundle = self._bundle()
            if bundle != self._last and self._handle is not None:
                self._last = bundle
                self._handle.update(bundle, raw=True)

    def _bundle(self) -> dict[str, str]:
        picture = Picture(job=self._job, at=datetime.now(UTC), tail=self._tail, notes=self._notes)
        return {"text/html": html_of(picture), "text/plain": text_of(picture)}


def in_notebook() -> bool:
    """Whether what is displayed can be changed later."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell: Callable[[], Any] = get_ipython
    return getattr(shell(), "kernel", None) is not None
