"""What a job is told in its environment."""

from pathlib import Path

from shorepower.dispatch.orders import order_of
from shorepower.dispatch.places import Places
from shorepower.model.job import JobSpec, Link, Submission
from shorepower.model.resources import Resources
from support.dispatching import a_job, a_spec


def told(spec: JobSpec, state: Path) -> dict[str, str]:
    job = a_job(spec)
    submission = Submission(id=f"{job.id}-1", job=job.id, cluster="local")
    return dict(order_of(job, spec, submission, Places(state_dir=state)).env)


def test_a_script_with_sbatch_lines_finds_its_number(tmp_path: Path) -> None:
    env = told(a_spec(env={"SLURM_SUBMIT_DIR": "/home/ada", "SLURM_JOB_NAME": "fit"}), tmp_path)

    assert env["SLURM_JOB_ID"] == env["SHOREPOWER_JOB_ID"]
    assert "SLURM_JOB_ID" not in told(a_spec(), tmp_path)


def test_threads_are_capped_only_where_cpus_were_asked_for_and_never_over_the_users_own(
    tmp_path: Path,
) -> None:
    asked = told(a_spec(resources=Resources(cpu_count=4), env={"OMP_NUM_THREADS": "1"}), tmp_path)

    assert (asked["OMP_NUM_THREADS"], asked["MKL_NUM_THREADS"]) == ("1", "4")
    assert not [name for name in told(a_spec(), tmp_path) if name.endswith("_NUM_THREADS")]


def test_uv_in_a_job_installs_nothing_into_a_linked_environment(tmp_path: Path) -> None:
    linked = {
        "in_place": False,
        "workdir": "",
        "links": (Link(path="app/.venv", target="/home/ada/app/.venv"),),
    }

    assert told(a_spec(**linked), tmp_path)["UV_NO_SYNC"] == "1"
    assert told(a_spec(**linked, env={"UV_NO_SYNC": "0"}), tmp_path)["UV_NO_SYNC"] == "0"
    assert "UV_NO_SYNC" not in told(a_spec(), tmp_path)
