"""A kernel of IPython in a process of its own, spoken to as a notebook does."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Cell", "Kernel", "a_kernel"]

LIMIT_S = 60.0
SILENCE_S = 0.2


class Cell:
    """What one cell brought about."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = messages

    @property
    def number(self) -> int:
        """As it stands beside the cell."""
        (told,) = (one["content"] for one in self.messages if one["msg_type"] == "execute_input")
        return told["execution_count"]

    @property
    def stdout(self) -> str:
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    @property
    def error(self) -> str:
        """Name and value of what was raised, and the lines that are shown; empty if nothing was."""
        found = [message["content"] for message in self.messages if message["msg_type"] == "error"]
        return "".join(f"{told['ename']}: {told['evalue']}\n{''.join(told['traceback'])}" for told in found)

    @property
    def displays(self) -> list[dict[str, Any]]:
        """What was displayed, with what it was changed to later."""
        kinds = ("display_data", "update_display_data", "execute_result")
        return [message["content"] for message in self.messages if message["msg_type"] in kinds]

    def _text(self, name: str) -> str:
        streams = [message["content"] for message in self.messages if message["msg_type"] == "stream"]
        return "".join(told["text"] for told in streams if told["name"] == name)


class Kernel:
    """Runs cells one after the other."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager, self._client = manager, client

    def run(self, code: str, *, meanwhile: Callable[[str], object] | None = None) -> Cell:
        """One cell, to its end. ``meanwhile`` hears the text of each stream message."""
        asked = self._client.execute(code)
        messages: list[dict[str, Any]] = []
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            message = self._next()
            if message is None or message["parent_header"].get("msg_id") != asked:
                continue
            messages.append(message)
            if meanwhile is not None and message["msg_type"] == "stream":
                meanwhile(message["content"]["text"])
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return Cell(messages)
        raise AssertionError(f"the cell did not end: {messages}")

    def until(self, display: str, wanted: Callable[[str], bool]) -> str:
        """What a place of the output shows as soon as that fits, after the cells have ended. Other places,
        of cells before, may change meanwhile."""
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            message = self._next()
            told = message["content"] if message is not None else {}
            if "data" in told and told["transient"]["display_id"] == display:
                html = told["data"]["text/html"]
                if wanted(html):
                    return html
        raise AssertionError("no such display came")

    def _next(self) -> dict[str, Any] | None:
        try:
            return self._client.get_iopub_msg(timeout=SILENCE_S)
        except queue.Empty:
            return None


@contextmanager
def a_kernel(env: Mapping[str, str], folder: Path) -> Iterator[Kernel]:
    """A kernel that runs in this folder, with this environment and nothing else."""
    from jupyter_client.manager import KernelManager

    private = {name: str(folder.parent / "jupyter") for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
    manager = KernelManager(
        kernel_name="python3", transport="ipc", connection_file=str(folder.parent / "kernel.json")
    )
    manager.start_kernel(env={**env, **private}, cwd=str(folder))
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=LIMIT_S)
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
