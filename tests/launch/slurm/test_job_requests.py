"""What Slurm is asked for, from the plan; tests/slurm runs such jobs."""

import sys
from typing import Any

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.slurm.job_requests import SCRIPTS, JobRequest, job_requests
from tests.plan.plans import tree_of


def campaign_of(**keys: Any) -> Campaign:
    return Campaign(tree_of(**keys))


def jobs_of(**slurm: Any) -> list[JobRequest]:
    return job_requests(campaign_of(launch={"slurm": slurm}), None, {})


def test_the_plan_is_sbatchs_command_line() -> None:
    first = jobs_of(
        nodes=4, partition="h100", time="24:00:00", account="llm", cpus_per_task=12, exclusive=True, mem="0",
        signal_before=600, max_requeues=5, options={"reservation": "r", "comment-x": True},
    )[0]  # fmt: skip
    assert first.options == (
        "--nodes=4", "--ntasks-per-node=8", "--partition=h100", "--time=24:00:00", "--account=llm", "--mem=0",
        "--cpus-per-task=12", "--gpus-per-node=8", "--exclusive", "--reservation=r", "--comment-x",
        "--job-name=lrps-c-main-400", "--output=/campaigns/runs/c/paths/main/logs/slurm-%j.log", "--open-mode=append",
        "--requeue", "--signal=B:USR1@600", "--kill-on-invalid-dep=yes", "--export=ALL", "--hold",
    )  # fmt: skip
    assert first.script.name == "main.sbatch"
    assert first.env == {
        "LRPS_PLAN": "/campaigns/runs/c/plan.yaml",
        "LRPS_SAVE": "/campaigns/runs/c",
        "LRPS_PATH": "main",
        "LRPS_UNTIL": "400",
        "LRPS_DEVICE": "gpu",
        "LRPS_EXIT_SIGNAL": "SIGUSR2",
        "LRPS_ALERTS": "1",
        "LRPS_FT_LAUNCHER": "",
        "LRPS_MAX_REQUEUES": "5",
        "LRPS_PYTHON": "",
        "LRPS_HOST_PYTHON": sys.executable,
        "LRPS_SLURM_DIR": str(SCRIPTS),
        "LRPS_SITE": str(SCRIPTS / "site.sh"),
        "LRPS_MOUNTS": "/campaigns/runs/c:/campaigns/runs/c",
    }


def test_branches_have_their_own_script_and_containers_see_the_data() -> None:
    jobs = job_requests(
        campaign_of(
            launch={"slurm": {"container": "/images/megatron.sqsh", "site": "my site.sh"}},
            versions=[{"name": "v1", "iters": 10, "train": [[1.0, "/data/web/a"]], "valid": {"b": "/data/valid/b"}}],
        ),
        None,
        {},
    )
    assert [(job.name, job.script.name) for job in jobs] == [
        ("lrps-c-main-4", "main.sbatch"),
        ("lrps-c-v1-10", "branch.sbatch"),
    ]
    env = jobs[1].env
    assert (env["LRPS_CONTAINER"], env["LRPS_SITE"]) == ("/images/megatron.sqsh", "/campaigns/my site.sh")
    assert env["LRPS_MOUNTS"] == "/campaigns/runs/c:/campaigns/runs/c,/data/web:/data/web,/data/valid:/data/valid"


def test_percent_signs_of_a_folder_are_not_slurms() -> None:
    (main, *_) = job_requests(campaign_of(launch={"slurm": {}}, save="runs/50%j"), None, {})
    assert "--output=/campaigns/runs/50%%j/paths/main/logs/slurm-%j.log" in main.options


def test_a_folder_that_no_list_of_mounts_can_hold_matters_to_a_container_alone() -> None:
    (main, *_) = job_requests(campaign_of(launch={"slurm": {}}, save="runs/12:30"), None, {})
    assert main.env["LRPS_MOUNTS"] == ""
    with pytest.raises(RefusedError, match="/campaigns/runs/12:30 cannot be mounted into a container"):
        job_requests(campaign_of(launch={"slurm": {"container": "/a.sif"}}, save="runs/12:30"), None, {})


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_a_signal_that_srun_keeps_for_itself_is_refused(signal: str) -> None:
    with pytest.raises(RefusedError, match=f"exit-signal is {signal}, but srun only passes SIGUSR1 and SIGUSR2 on"):
        job_requests(campaign_of(launch={"slurm": {}}, megatron={"exit-signal": signal}), None, {})


def test_a_plan_without_slurm_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"launch\.slurm is not in the plan"):
        job_requests(campaign_of(), None, {})
