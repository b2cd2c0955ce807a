"""The request that only calls make, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from ...wire.http.bodies import ValuesRequest
from ...wire.http.frames import FRAMES
from ..requests import Request

__all__ = ["read_values"]


def read_values(name: str, offsets: Mapping[int, int], wait_s: float) -> Request:
    """Frames of what each task gave back beyond these offsets: one long poll."""
    return Request(
        method="POST",
        path=f"/v1/jobs/{quote(name, safe='@')}/values:read",
        headers={"Accept": FRAMES, "Content-Type": "application/json"},
        body=msgspec.json.encode(ValuesRequest(offsets=dict(offsets), wait=wait_s)),
        repeatable=True,
        wait_s=wait_s,
    )
