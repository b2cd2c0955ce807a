"""From what is recorded to what a backend needs. Pure: the same record gives the same order."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from ..clusters.contract import Order
from ..model.job import Job, JobSpec, Submission
from .places import Places
from .tasks import SBATCH, Tasks

__all__ = ["FACTS", "facts", "order_of"]

FACTS = "SHOREPOWER_"
"""What the names of all facts begin with."""

# Source: the contract, §3: thread caps, set only when cpus were asked for.
_THREAD_CAPS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "JULIA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "MC_CORES",
    "R_DATATABLE_NUM_THREADS",
)

_VENV = ".venv"
_NO_SYNC = "UV_NO_SYNC"
"""``uv run`` would install the frozen copy into the linked original (uv's reference of settings)."""


def order_of(job: Job, spec: JobSpec, submission: Submission, places: Places) -> Order:
    """The order of one submission; it names only paths that staging makes."""
    work = places.work(submission.id)
    project = places.project(submission.id)
    cwd = spec.workdir if spec.in_place else str(project / spec.workdir)
    order = Order(
        submission=submission.id,
        job=job.id,
        attempt=submission.attempt,
        tasks=submission.tasks,
        name=job.name,
        owner=job.owner,
        queue=spec.queue,
        argv=spec.argv,
        env=_environment(job, spec, submission, places, cwd),
        secrets_file=str(places.secrets / job.id) if spec.secrets else None,
        cwd=cwd,
        stdin=str(work / "stdin") if spec.stdin else None,
        resources=spec.resources,
        grace_s=spec.grace_s,
        umask=spec.umask,
        progress_file=str(work / "progress"),
        handle=submission.handle,
        seen_running=job.started_at is not None and job.attempt == submission.attempt,
    )
    if spec.array is None:
        return order
    each = Tasks(spec, spec.array, work, order)
    return replace(order, each=each, max_parallel=spec.array.max_parallel, progress_file=None)


def facts(job: Job, spec: JobSpec, submission: Submission, places: Places, cwd: str) -> dict[str, str]:
    """What every job is told about itself. Source: the contract, §3. ``_DEADLINE`` is the backend's to
    add, at the moment of the start."""
    work = places.work(submission.id)
    told = {
        "SHOREPOWER_JOB_ID": job.id,
        "SHOREPOWER_NAME": job.name,
        "SHOREPOWER_CLUSTER": job.cluster,
        "SHOREPOWER_ATTEMPT": str(submission.attempt),
        "SHOREPOWER_TASK_INDEX": "0",
        "SHOREPOWER_TASK_COUNT": str(job.task_count),
        "SHOREPOWER_PROJECT_DIR": cwd if spec.in_place else str(places.project(submission.id)),
        "SHOREPOWER_RESULTS_DIR": str(work / "results"),
        "SHOREPOWER_PROGRESS": str(work / "progress"),
        "SHOREPOWER_METRICS": str(work / "metrics"),
        "SHOREPOWER_RESULT": str(work / "values" / "0"),
        "PYTHONUNBUFFERED": "1",
    }
    if spec.input is not None:
        told["SHOREPOWER_INPUT"] = str(work / "input")
    if spec.resources.cpu_count is not None:
        told["SHOREPOWER_CPUS"] = f"{spec.resources.cpu_count:g}"
    if spec.resources.memory_mib is not None:
        told["SHOREPOWER_MEMORY_MIB"] = str(spec.resources.memory_mib)
    return told


def _environment(
    job: Job, spec: JobSpec, submission: Submission, places: Places, cwd: str
) -> Mapping[str, str]:
    env: dict[str, str] = {}
    if spec.resources.cpu_count is not None:
        threads = str(max(1, int(spec.resources.cpu_count)))
        env.update(dict.fromkeys(_THREAD_CAPS, threads))
    if any(link.path.rpartition("/")[2] == _VENV for link in spec.links):
        env[_NO_SYNC] = "1"
    env.update(spec.env)
    if spec.source_roots and not spec.in_place:
        roots = [str(places.project(submission.id) / root) for root in spec.source_roots]
        env["PYTHONPATH"] = ":".join([*roots, *filter(None, [spec.env.get("PYTHONPATH")])])
    env.update(facts(job, spec, submission, places, cwd))
    if SBATCH in env:
        env.setdefault("SLURM_JOB_ID", job.id)
    return env
