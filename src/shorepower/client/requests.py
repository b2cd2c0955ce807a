"""Every call of ``/v1`` as a request and the decoding of its answer, without any I/O.

A `Call` is worn by every client alike: `transport` carries it, whoever made it gets the value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from ..model.caller import Caller
from ..model.cluster import ClusterInfo
from ..model.decoding import json_decoder
from ..model.errors import ShorepowerError, names_no_job
from ..model.job import Job, JobSpec
from ..model.lifecycle import Attempt, Operation
from ..model.results import ExpiringResults
from ..wire.http.bodies import EventPage, FileList, JobPage, PruneAnswer, ServerInfo
from ..wire.http.frames import FRAMES
from ..wire.http.problems import decode_problem, error_of
from .errors import NotOurs, ServerFault

__all__ = ["Answer", "Call", "JobPage", "JobQuery", "Request", "ServerInfo", "problem_error"]

T = TypeVar("T")
JSON = "application/json"


class Request(Struct, frozen=True, kw_only=True):
    """One HTTP request, before an address and a token are added."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    repeatable: bool = False
    """Sending it twice does no more than sending it once."""
    wait_s: float = 0.0
    """How long the server may wait on purpose before it answers."""


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer; names of headers in lower case."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Call(Generic[T]):
    """A request, and what its answer means."""

    def __init__(self, request: Request, decode: Callable[[Answer], T]) -> None:
        self.request, self.decode = request, decode


class JobQuery(Struct, frozen=True, kw_only=True):
    """Which jobs to list."""

    states: tuple[str, ...] = ()
    cluster: str | None = None
    name: str | None = None
    tags: dict[str, str] = {}
    since: datetime | None = None
    recent: bool = False
    """Living jobs, and those that ended within the last day."""
    cursor: str | None = None
    limit: int = 50


class Look(Struct, frozen=True, kw_only=True):
    """What a path is where the jobs run, as the caller."""

    path: str = ""
    exists: bool = False
    is_directory: bool = False
    readable: bool = False
    writable: bool = False
    executable: bool = False


class TokenInfo(Struct, frozen=True, kw_only=True):
    """A token without its secret."""

    id: str
    name: str
    user: str
    scope: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None


class NewToken(Struct, frozen=True, kw_only=True):
    """A token with its secret, which is told this once."""

    secret: str
    token: TokenInfo


class Footprint(Struct, frozen=True, kw_only=True):
    """What the server keeps on disk for the caller."""

    blobs_bytes: int = 0
    results_bytes: int = 0
    output_bytes: int = 0
    free_bytes: int = 0
    budget_bytes: int = 0
    job_count: int = 0


# jobs


def submit(spec: JobSpec, key: str, secrets: Mapping[str, str]) -> Call[Job]:
    """Record a job, once under its key."""
    body = msgspec.json.encode({"spec": spec, "secrets": secrets})
    headers = {"Idempotency-Key": key}
    return Call(_post("/v1/jobs", body, headers=headers, repeatable=True), _decoder(Job))


def job(name: str, *, revision: int | None = None, wait_s: float = 0.0) -> Call[Job]:
    """A job; with ``revision``, as soon as it is newer or the wait is over."""
    query = {"revision": revision, "wait": _seconds(wait_s)} if revision is not None else {}
    return Call(_get(_job_path(name), query, wait_s=wait_s), _decoder(Job))


def jobs(wanted: JobQuery) -> Call[JobPage]:
    """One page of jobs."""
    query: list[tuple[str, Any]] = [
        *(("state", state) for state in wanted.states),
        ("on", wanted.cluster),
        ("name", wanted.name),
        *(("tag", f"{key}={value}") for key, value in wanted.tags.items()),
        ("since", wanted.since.isoformat() if wanted.since else None),
        ("recent", 1 if wanted.recent else None),
        ("cursor", wanted.cursor),
        ("limit", wanted.limit),
    ]
    return Call(_get("/v1/jobs", query), _decoder(JobPage))


def spec(name: str) -> Call[JobSpec]:
    """What was submitted."""
    return Call(_get(f"{_job_path(name)}/spec"), _decoder(JobSpec))


def attempts(name: str) -> Call[list[Attempt]]:
    """Every attempt so far."""
    return _field(_get(f"{_job_path(name)}/attempts"), "attempts", list[Attempt])


def control(name: str, operation: Operation) -> Call[Job]:
    """Record an operation; asking again is harmless."""
    return Call(_post(f"{_job_path(name)}/{operation.value}", b"", repeatable=True), _decoder(Job))


def keep(name: str, until: datetime | None) -> Call[Job]:
    """Move the moment when results expire; None keeps them for good."""
    body = msgspec.json.encode({"until": until})
    return Call(_post(f"{_job_path(name)}/keep", body, repeatable=True), _decoder(Job))


def pulled(name: str) -> Call[None]:
    """Say that everything listed has come home."""
    return Call(_post(f"{_job_path(name)}/pulled", b"", repeatable=True), _nothing)


# output and events


def output(
    name: str,
    *,
    cursor: str | None = None,
    follow: bool = False,
    wait_s: float = 0.0,
    tail_bytes: int | None = None,
    task: int | None = None,
) -> Request:
    """Frames of output (of one task) from a cursor on: with ``follow`` until the end, else one poll."""
    query = {
        "task": task,
        "cursor": cursor,
        "follow": 1 if follow else None,
        "wait": _seconds(wait_s),
        "tail": tail_bytes if cursor is None else None,
    }
    return _get(f"{_job_path(name)}/output", query, wait_s=wait_s, accept=FRAMES)


def events(*, after: int | None = None, job: str | None = None, wait_s: float = 0.0) -> Call[EventPage]:
    """News after a number; None: from now on."""
    query = {"after": after, "job": job, "wait": _seconds(wait_s)}
    return Call(_get("/v1/events", query, wait_s=wait_s), _decoder(EventPage))


# clusters, paths, the server


def clusters() -> Call[list[ClusterInfo]]:
    """Last known information about each."""
    return _field(_get("/v1/clusters"), "clusters", list[ClusterInfo])


def look(paths: Sequence[str]) -> Call[dict[str, Look]]:
    """What these paths are on the server's side; one that did not answer is left out."""
    body = msgspec.json.encode({"paths": list(paths)})
    return _field(_post("/v1/look", body, repeatable=True), "paths", dict[str, Look])


def server() -> Call[ServerInfo]:
    """Who answers."""
    return Call(_get("/v1/server"), _decoder(ServerInfo))


def stop_server() -> Call[int]:
    """End a private server; how many jobs go on without it."""
    return _field(_post("/v1/server/stop", b"", repeatable=True), "running", int)


def whoami() -> Call[Caller]:
    """Whom the server takes the caller for."""
    return Call(_get("/v1/whoami"), _decoder(Caller))


def footprint() -> Call[Footprint]:
    """What is kept."""
    return Call(_get("/v1/footprint"), _decoder(Footprint))


def prune(*, results: bool, unfetched: bool, ended_before: datetime | None) -> Call[PruneAnswer]:
    """Remove what is expired or asked for."""
    asked = {"results": results, "ended_before": ended_before} | ({"unfetched": True} if unfetched else {})
    return Call(_post("/v1/prune", msgspec.json.encode(asked), repeatable=True), _decoder(PruneAnswer))


def expiring() -> Call[ExpiringResults]:
    """Results that nobody fetched and that go soon."""
    return Call(_get("/v1/results:expiring"), _decoder(ExpiringResults))


def warned(as_of: datetime) -> Call[None]:
    """Say that what `expiring` told was shown."""
    body = msgspec.json.encode({"as_of": as_of})
    return Call(_post("/v1/results:warned", body, repeatable=True), _nothing)


# blobs and files


def missing_blobs(digests: Sequence[str]) -> Call[list[str]]:
    """Which of these the server has not got from this caller."""
    body = msgspec.json.encode({"digests": list(digests)})
    return _field(_post("/v1/blobs:missing", body, repeatable=True), "missing", list[str])


def put_blobs(body: bytes, encoding: str | None) -> Call[None]:
    """Send framed blobs."""
    headers = {"Content-Type": FRAMES} | ({"Content-Encoding": encoding} if encoding else {})
    return Call(_post("/v1/blobs", body, headers=headers, repeatable=True), _nothing)


def blob(digest: str) -> Call[bytes]:
    """A blob that the caller has sent."""
    request = Request(
        method="GET",
        path=f"/v1/blobs/{quote(digest, safe=':')}",
        headers={"Accept": "*/*"},
        repeatable=True,
    )
    return Call(request, lambda answer: answer.body)


def files(name: str) -> Call[FileList]:
    """What came out so far."""
    return Call(_get(f"{_job_path(name)}/files"), _decoder(FileList))


def read_files(name: str, entries: Iterable[Mapping[str, Any]]) -> Request:
    """Frames with the content of listed files, each from an offset on."""
    body = msgspec.json.encode({"entries": list(entries)})
    return _post(f"{_job_path(name)}/files:read", body, headers={"Accept": FRAMES}, repeatable=True)


# tokens


def tokens() -> Call[list[TokenInfo]]:
    """The caller's own."""
    return _field(_get("/v1/tokens"), "tokens", list[TokenInfo])


def create_token(name: str, scope: str, expires_at: datetime | None) -> Call[NewToken]:
    """A new one. Not repeatable: each call makes another."""
    body = msgspec.json.encode({"name": name, "scope": scope, "expires_at": expires_at})
    return Call(_post("/v1/tokens", body), _decoder(NewToken))


def revoke_token(token: str) -> Call[None]:
    """By id, at once."""
    request = Request(method="DELETE", path=f"/v1/tokens/{quote(token, safe='')}", repeatable=True)
    return Call(request, _nothing)


# answers that say no


def problem_error(answer: Answer, label: str) -> ShorepowerError:
    """The error that an answer of 400 or above stands for; `NotOurs` when it is not in our words."""
    problem = decode_problem(answer.body)
    if problem is None:
        return NotOurs(f"{label} answered {_phrase(answer.status)}, and not in shorepower's words")
    return error_of(problem, answer.status, answer.headers, otherwise=ServerFault)


def _phrase(status: int) -> str:
    from http import HTTPStatus

    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


# spelling


def _job_path(name: str) -> str:
    if name in ("", ".", ".."):  # no part of a path: another route would answer
        raise names_no_job(name)
    return f"/v1/jobs/{quote(name, safe='@', errors='surrogateescape')}"


def _seconds(wait_s: float) -> str | None:
    return f"{wait_s:g}" if wait_s > 0 else None


def _get(
    path: str,
    query: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
    *,
    wait_s: float = 0.0,
    accept: str = JSON,
) -> Request:
    pairs = query.items() if isinstance(query, Mapping) else query
    asked = [(key, value) for key, value in pairs if value is not None]
    text = urlencode(asked, errors="surrogateescape")
    return Request(
        method="GET",
        path=f"{path}?{text}" if text else path,
        headers={"Accept": accept},
        repeatable=True,
        wait_s=wait_s,
    )


def _post(path: str, body: bytes, *, headers: Mapping[str, str] = {}, repeatable: bool = False) -> Request:
    known = {"Accept": JSON} | ({"Content-Type": JSON} if body else {}) | dict(headers)
    return Request(method="POST", path=path, headers=known, body=body, repeatable=repeatable)


def _decoder(kind: type[T]) -> Callable[[Answer], T]:
    def decode(answer: Answer) -> T:
        try:
            return json_decoder(kind).decode(answer.body)
        except msgspec.DecodeError as error:
            raise ServerFault(f"the server's answer cannot be understood: {error}") from None

    return decode


def _field(request: Request, name: str, kind: Any) -> Call[Any]:
    """A call whose value is one field of the answer's object."""
    whole = _decoder(dict[str, msgspec.Raw])

    def decode(answer: Answer) -> Any:
        fields = whole(answer)
        try:
            return json_decoder(kind).decode(fields[name])
        except (KeyError, msgspec.DecodeError) as error:
            raise ServerFault(f"the server's answer cannot be understood: {name}: {error}") from None

    return Call(request, decode)


def _nothing(answer: Answer) -> None:
    return None
