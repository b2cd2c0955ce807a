"""Whether a spec can run at all, judged by the last known information. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .check_array import array_faults, input_faults
from .cluster import ClusterInfo, Queue
from .errors import Fault
from .job import JobSpec, Link
from .names import quoted
from .resources import counted, format_duration, format_memory

__all__ = ["check", "faults_of", "unknown"]

_ENV_NAME = re.compile(r"[^=\0]+")
_NAME_LIMIT = 255
_MOST_FAULTS = 100
"""Of one list."""
_FACTS = "SHOREPOWER_"  # Source: the contract, §3.
_ENV_LIMIT_BYTES = 1 << 20
_MOST_AFTER = 1000
_LONGEST_S = 10 * 366 * 86_400
_ARG_LIMIT_BYTES = 128 << 10  # Source: execve(2), MAX_ARG_STRLEN, one argument or variable.


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """A sentence for a name that does not exist: the nearest one first, then all valid ones."""
    from difflib import get_close_matches

    names = sorted(known)
    lowered = {name.lower(): name for name in names}
    near = get_close_matches(given.lower(), lowered, 1)
    hint = f"did you mean {lowered[near[0]]!r}? " if near else ""
    return f"no {what} {given!r}; {hint}choose one of: {', '.join(names) or '(none)'}"


def faults_of(
    field: str, values: Iterable[str], is_right: Callable[[str], bool], wrong: str
) -> list[Fault]:
    """A fault for each value that is not right, under its place in the list (``paths[3]``); ``wrong`` is
    what the sentence says of it. Of very many, the first ones and how many more."""
    found = [(place, value) for place, value in enumerate(values) if not is_right(value)]
    told = [Fault(f"{field}[{place}]", f"{value!r} {wrong}") for place, value in found[:_MOST_FAULTS]]
    if more := len(found) - len(told):
        told.append(Fault(field, f"and {more} more that are as wrong"))
    return told


def check(spec: JobSpec, clusters: dict[str, ClusterInfo]) -> tuple[Fault, ...]:
    """Every fault of a spec at once; empty when it may be accepted."""
    faults = [*_check_shape(spec), *_check_text(spec), *array_faults(spec), *input_faults(spec.input)]
    info = clusters.get(spec.cluster)
    if info is None:
        faults.append(Fault("cluster", unknown("cluster", spec.cluster, clusters)))
    else:
        faults += _check_room(spec, info)
    return tuple(faults)


def _check_shape(spec: JobSpec) -> Iterable[Fault]:
    if not spec.name or len(spec.name.encode(errors="replace")) > _NAME_LIMIT:
        yield Fault("name", f"a name has 1 to {_NAME_LIMIT} bytes")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in spec.name):
        yield Fault("name", "a name has no control characters")
    if not spec.argv or not spec.argv[0]:
        yield Fault("argv", "nothing to run: give a script, or a command after --")
    if any("\0" in word for word in spec.argv):
        yield Fault("argv", "an argument cannot hold a NUL byte")
    if any(len(word.encode(errors="replace")) >= _ARG_LIMIT_BYTES for word in spec.argv):
        yield Fault("argv", "one argument is over 128 KiB; put it into a file")
    for key, value in spec.env.items():
        if not _ENV_NAME.fullmatch(key) or "\0" in value:
            yield Fault(f"env.{key}", f"{key!r} cannot be an environment variable")
        elif len(key) + len(value.encode(errors="replace")) >= _ARG_LIMIT_BYTES:
            yield Fault(f"env.{key}", f"{key} is over 128 KiB; put it into a file")
        if key.startswith(_FACTS):
            yield Fault(f"env.{key}", f"{key}: {_FACTS}* are facts that every job is given")
    if sum(len(k) + len(v) for k, v in spec.env.items()) > _ENV_LIMIT_BYTES:
        yield Fault("env", "the environment is over 1 MiB together")
    if spec.in_place and not spec.workdir.startswith("/"):
        yield Fault("workdir", "in place needs an absolute working directory")
    if not spec.in_place and (spec.workdir.startswith("/") or ".." in spec.workdir.split("/")):
        yield Fault("workdir", "the working directory is a path inside the project")
    if "\0" in spec.workdir or any("\0" in root for root in spec.source_roots):
        yield Fault("workdir", "a path cannot hold a NUL byte")
    if any(root.startswith("/") or ".." in root.split("/") for root in spec.source_roots):
        yield Fault("source_roots", "a source root is a path inside the project")
    for link in spec.links:
        yield from _check_link(link)
    for field in ("stdout_file", "stderr_file"):
        path = getattr(spec, field)
        if path and any(part in ("", ".", "..") or "\0" in part for part in path.split("/")):
            yield Fault(field, f"output is saved at a path inside the project, not at {quoted(path)}")
    if spec.v != 1:
        yield Fault("v", f"version {spec.v} is of a later shorepower; this one knows version 1")
    if spec.within_s is not None and not 0 < spec.within_s <= _LONGEST_S:
        yield Fault("within_s", "give up after more than 0 s, and within 10 years")
    if len(spec.after) > _MOST_AFTER:
        yield Fault("after", f"a job comes after at most {_MOST_AFTER:,} others")
    if spec.not_before is not None and spec.not_before.tzinfo is None:
        yield Fault("not_before", "a moment has a time zone: 2026-12-01T14:00:00Z")
    if spec.resources.wall_time_s is not None and spec.resources.wall_time_s > _LONGEST_S:
        yield Fault("resources.wall_time_s", "a time limit is at most 10 years")
    if not 0 <= spec.grace_s <= 3600:
        yield Fault("grace_s", "the grace is between 0 s and 1 h")
    if not 0 <= spec.umask <= 0o777:
        yield Fault("umask", "a umask is between 000 and 777")


def _check_link(link: Link) -> Iterable[Fault]:
    parts = link.path.split("/")
    if link.path in ("", ".") or not parts[0] or ".." in parts or "\0" in link.path:
        yield Fault("links", f"a link lies inside the project, not at {quoted(link.path)}")
    if not link.target.startswith("/") or "\0" in link.target:
        yield Fault("links", f"a link leads to an absolute path, not to {quoted(link.target)}")


def _check_text(spec: JobSpec) -> Iterable[Fault]:
    """A spec is JSON, and so UTF-8; a name of a file need not be."""
    texts = [("argv", word) for word in spec.argv]
    texts += [("workdir", spec.workdir), ("project", spec.project)]
    texts += [("stdout_file", spec.stdout_file), ("stderr_file", spec.stderr_file)]
    texts += [(f"env.{key}", value) for key, value in spec.env.items()]
    texts += [("links", path) for link in spec.links for path in (link.path, link.target)]
    for field, text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            yield Fault(field, f"{quoted(text)} is not UTF-8, so no job can name it; give it another name")


def _check_room(spec: JobSpec, info: ClusterInfo) -> Iterable[Fault]:
    asked = spec.resources
    queue: Queue | None = None
    if spec.queue is not None:
        queue = next((line for line in info.queues if line.name == spec.queue), None)
        if not info.queues:
            yield Fault("queue", f"cluster {info.name!r} has no queues: leave -p out")
        elif queue is None:
            yield Fault("queue", unknown("queue", spec.queue, (line.name for line in info.queues)))
    where = f"queue {queue.name!r} of {info.name!r}" if queue else f"cluster {info.name!r}"
    cpus = _smaller(info.cpu_count, queue.max_cpu_count if queue else None)
    memory = _smaller(info.memory_mib, queue.max_memory_mib if queue else None)
    wall_time = queue.max_wall_time_s if queue else None
    if asked.cpu_count is not None and asked.cpu_count <= 0:
        yield Fault("resources.cpu_count", "ask for more than 0 cpus")
    if asked.cpu_count is not None and cpus is not None and asked.cpu_count > cpus:
        yield Fault("resources.cpu_count", f"asked {counted(asked.cpu_count, 'cpu')}; {where} has {cpus:g}")
    if asked.memory_mib is not None and asked.memory_mib <= 0:
        yield Fault("resources.memory_mib", "ask for at least 1 MiB")
    if asked.memory_mib is not None and memory is not None and asked.memory_mib > memory:
        yield Fault(
            "resources.memory_mib",
            f"asked {format_memory(asked.memory_mib)} of memory; "
            f"{where} has {format_memory(memory)} for jobs",
        )
    if asked.gpu_count and asked.gpu_count > info.gpu_count:
        yield Fault(
            "resources.gpu_count", f"asked {counted(asked.gpu_count, 'GPU')}; {where} has {info.gpu_count}"
        )
    if asked.gpu_type and asked.gpu_count and info.gpu_count and asked.gpu_type not in info.gpu_types:
        yield Fault("resources.gpu_type", unknown("GPU type", asked.gpu_type, info.gpu_types))
    if asked.wall_time_s is not None and asked.wall_time_s <= 0:
        yield Fault("resources.wall_time_s", "a time limit is at least 1 second")
    if asked.wall_time_s and wall_time and asked.wall_time_s > wall_time:
        yield Fault(
            "resources.wall_time_s",
            f"asked {format_duration(asked.wall_time_s)}; {where} allows {format_duration(wall_time)}",
        )


def _smaller(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return min(known) if known else None
