"""What a failed job may have missed: a file that was not sent, a variable that was not passed. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..model.job import Job
from ..model.lifecycle import Reason, State
from .render.figures import listed, short_id

if TYPE_CHECKING:
    from ..client.prepare import Prepared
    from ..client.view import ProjectView

__all__ = ["hints", "refused_writes", "rerun_hint", "unpassed"]

_SCRIPT_LIMIT_BYTES = 1 << 20
_MOST_LINES = 100
# How Python, R, Julia and shells read a variable.
_READS = re.compile(
    r"""environ(?:\.get)?[\[(]\s*["'](\w+)["']|getenv\(\s*["'](\w+)["']|ENV\[\s*["'](\w+)["']|\$\{?([A-Z_][A-Z0-9_]*)"""
)


def hints(job: Job, prepared: Prepared, tail: bytes, environ: Mapping[str, str]) -> list[str]:
    """Sentences for the end of a job that failed."""
    found = []
    if job.state is State.FAILED and prepared.view is not None:
        text = tail.decode(errors="replace")
        named = [one.path for one in prepared.view.not_sent if not one.linked and _names(text, one.path)]
        if named:
            found.append(f"its output names what was not sent: {listed(named)}; --include sends it")
        if job.array and (refused := refused_writes(text, prepared.view)):
            share = f"all tasks share what was sent, and none may write to it: {listed(refused)}"
            found.append(f"{share}; write to another file, or move a new one into its place")
    if job.state is State.FAILED and job.reason is Reason.EXIT_CODE and prepared.found.script:
        given = {*prepared.spec.env, *prepared.spec.secrets}
        if missing := unpassed(_source(prepared), given, environ):
            options = " ".join(f"-e {name}" for name in missing[:3])
            found.append(f"the script reads {listed(missing)}, set here but not in the job: {options}")
    if told := rerun_hint(job):
        found.append(told)
    return found


def unpassed(source: str, given: set[str], environ: Mapping[str, str]) -> list[str]:
    """Variables that a script reads, that the caller has, and that the job has not."""
    read = {name for groups in _READS.findall(source) for name in groups if name}
    return sorted(name for name in read & environ.keys() - given if not name.startswith("SHOREPOWER_"))


def rerun_hint(job: Job) -> str:
    """``try: shore rerun p7xa -m 8G`` for a job that asked for too little; else empty."""
    name = short_id(job.id)
    if job.reason is Reason.OUT_OF_MEMORY and job.resources.memory_mib:
        twice = job.resources.memory_mib * 2
        return f"try: shore rerun {name} -m " + (f"{twice // 1024}G" if twice % 1024 == 0 else f"{twice}M")
    if job.reason is Reason.TIME_LIMIT and job.resources.wall_time_s:
        return f"try: shore rerun {name} -t {job.resources.wall_time_s * 2}s"
    return ""


def _names(text: str, path: str) -> bool:
    """Whether output names a path, as a whole."""
    bare = path.rstrip("/")
    return bool(bare) and re.search(rf"(?<![\w.-]){re.escape(bare)}(?![\w-])", text) is not None


def refused_writes(text: str, view: ProjectView) -> list[str]:
    """What was sent and could not be opened for writing, by the output: relative to where a task starts."""
    lines = [line for line in text.splitlines() if "ermission denied" in line][-_MOST_LINES:]
    if not lines:
        return []
    words = {word.removeprefix("./") for line in lines for word in re.split(r"[\s'\"‘’:]+", line)}
    top = f"{view.workdir}/" if view.workdir else ""
    sent = (path.removeprefix(top) for path, item in view.files() if item.kind == "file")
    return sorted(words & set(sent))


def _source(prepared: Prepared) -> str:
    file = prepared.found.root / prepared.found.workdir / prepared.found.script
    try:
        with file.open("rb") as content:
            return content.read(_SCRIPT_LIMIT_BYTES).decode(errors="replace")
    except OSError:
        return ""
