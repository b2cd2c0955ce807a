"""From what is recorded to what a backend needs. Pure: the same record gives the same order."""

from __future__ import annotations

from collections.abc import Mapping

from ..clusters.contract import Order
from ..model.job import Job, JobSpec, Submission
from .places import Places

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

_SBATCH = "SLURM_SUBMIT_DIR"
"""Set for every script that has ``#SBATCH`` lines; what else such a script finds is known only here."""


def order_of(job: Job, spec: JobSpec, submission: Submission, places: Places) -> Order:
    """The order of one submission; it names only paths that staging makes."""
    work = places.work(submission.id)
    project = places.project(submission.id)
    cwd = spec.workdir if spec.in_place else str(project / spec.workdir)
    return Order(
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
        "PYTHONUNBUFFERED": "1",
    }
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
    env.update(spec.env)
    if spec.source_roots and not spec.in_place:
        roots = [str(places.project(submission.id) / root) for root in spec.source_roots]
        env["PYTHONPATH"] = ":".join([*roots, *filter(None, [spec.env.get("PYTHONPATH")])])
    env.update(facts(job, spec, submission, places, cwd))
    if _SBATCH in env:
        env.setdefault("SLURM_JOB_ID", job.id)
    return env
