"""What sbatch is asked for, from the plan; the jobs themselves are tests/slurm's."""

import json
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.launch.slurm.container_mounts import mounts
from megatron_lrps.launch.slurm.job_history import active, followers, recorded
from megatron_lrps.launch.slurm.job_requests import SCRIPTS, JobRequest, job_requests
from megatron_lrps.launch.slurm.slurm_commands import job_states
from megatron_lrps.launch.slurm.submission import as_shell
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


def test_a_container_sees_what_files_link_to_and_what_the_plan_adds(tmp_path: Path) -> None:
    real = {name: tmp_path / name for name in ("disk", "hop", "hub", "data", "tokenizer", "hooks", "stock")}
    for folder in real.values():
        folder.mkdir()
    (real["disk"] / "b.bin").touch()
    (real["hop"] / "b.bin").symlink_to("../disk/b.bin")
    (real["data"] / "a.bin").symlink_to(real["hop"] / "b.bin")
    (real["data"] / "a.idx").touch()
    (real["hub"] / "blob").touch()
    (real["tokenizer"] / "tokenizer.json").symlink_to("../hub/blob")
    tree = tree_of(
        save=str(tmp_path / "runs"),
        launch={"slurm": {"mounts": ["/scratch/images"]}},
        main={"adopt": str(real["stock"]), "iteration": 1},
        versions=[{"name": "v1", "iters": 10, "train": [[1.0, str(real["data"] / "a")]]}],
        tokenizer={"type": "huggingface", "model": str(real["tokenizer"])},
        alerts={"hook": [str(real["hooks"] / "tell"), "--loud"]},
    )
    assert mounts(tree.plan) == [
        tmp_path / "runs", real["data"], real["hop"], real["disk"], tmp_path, real["stock"], real["tokenizer"],
        real["hub"], real["hooks"], Path("/scratch/images"),
    ]  # fmt: skip


@pytest.mark.parametrize("folder", ["images", "/a:b", "/a,b", ""])
def test_a_mount_is_an_absolute_folder(folder: str) -> None:
    with pytest.raises(PlanError, match="is no absolute path without ',' and ':'"):
        tree_of(launch={"slurm": {"mounts": [folder]}})


def test_a_folder_that_no_list_of_mounts_can_hold_matters_to_a_container_alone() -> None:
    (main, *_) = job_requests(campaign_of(launch={"slurm": {}}, save="runs/12:30"), None, {})
    assert main.env["LRPS_MOUNTS"] == ""
    with pytest.raises(RefusedError, match="/campaigns/runs/12:30 cannot be mounted into a container"):
        job_requests(campaign_of(launch={"slurm": {"container": "/a.sif"}}, save="runs/12:30"), None, {})


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_a_signal_that_srun_keeps_for_itself_is_refused(signal: str) -> None:
    with pytest.raises(RefusedError, match=f"exit-signal is {signal}, but srun only passes SIGUSR1 and SIGUSR2 on"):
        job_requests(campaign_of(launch={"slurm": {}}, megatron={"exit-signal": signal}), None, {})


def test_the_dry_run_is_a_script_that_submits_the_same(tmp_path: Path) -> None:
    jobs = jobs_of(partition="a'b$(touch${IFS}x)")  # quoted, whatever the plan holds
    for name, body in (
        ("sbatch", 'printf "%s|" "$LRPS_PATH" "$LRPS_UNTIL" "$@" >>calls; echo >>calls; wc -l <calls'),
        ("scontrol", 'echo "$@" >>calls'),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    subprocess.run(
        ["bash", "-eu", "-c", as_shell(jobs)], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True
    )
    *calls, last = (tmp_path / "calls").read_text().splitlines()
    after = ["", "--dependency=afterok:1|", "--dependency=afterok:1|", "--dependency=afterok:2|"]
    assert calls == [
        "|".join([*job.leg.key[:1], str(job.leg.until), "--parsable", *job.options, ""]) + follows + f"{job.script}|"
        for job, follows in zip(jobs, after, strict=True)
    ]
    assert last == "release 1,2,3,4"
    assert not (tmp_path / "x").exists()
    assert shlex.split(as_shell(jobs), comments=True)


def test_lines_of_the_record_that_lrps_did_not_write_are_left_out(tmp_path: Path) -> None:
    good = '{"event": "submitted", "job": "12", "name": "n", "path": "main", "until": 4}'
    bad = [good.replace('"12"', value) for value in ("12", '"12;rm"', "null")] + [good.replace("4}", '"4"}'), "torn {"]
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "jobs.jsonl").write_text("\n".join([*bad, good, '{"event": "released", "jobs": ["12"]}']))
    (job,) = recorded(CampaignFolder(tmp_path))
    assert (job.id, job.key, job.released) == ("12", ("main", 4), True)


QUEUE = """\
10|CANCELLED|None|lrps-c-main-400
11|PENDING|Dependency|lrps-c-main-1400
12|PENDING|DependencyNeverSatisfied|lrps-c-v1-1000
13|PENDING|Dependency|lrps-c-v2-2000
14|COMPLETED|None|lrps-c-main-400
15|PENDING|Resources|lrps-c-v1-1000
17|PENDING|Dependency|lrps-c-w-1000
18|PENDING|Priority|lrps-c-x-1000
19|COMPLETING|None|lrps-c-y-1000
20|PENDING|Dependency|lrps-c-z-1000
"""
JOBS = [(10, "main", 400, None), (11, "main", 1400, 10), (12, "v1", 1000, 10), (13, "v2", 2000, 11)]
"""Job, path, until, and the job that it follows; Slurm has forgotten 16."""
MORE = [(14, "main", 400, None), (15, "v1", 1000, 14), (16, "w", 400, None), (17, "w", 1000, 16), (18, "x", 1000, 16)]
LATE = [(19, "y", 1000, None), (20, "z", 1000, 19)]


def queue(folder: Path, *extra: str, jobs: list[tuple[int, str, int, int | None]]) -> CampaignFolder:
    """A campaign's record of jobs, and a stand-in for squeue that says QUEUE."""
    lines = [
        {"event": "submitted", "job": str(number), "name": f"lrps-c-{path}-{until}", "path": path, "until": until,
         "after": str(after) if after else None}
        for number, path, until, after in jobs
    ]  # fmt: skip
    (folder / "slurm").mkdir()
    (folder / "slurm" / "jobs.jsonl").write_text("\n".join([*map(json.dumps, lines), *extra]) + "\n")
    (folder / "squeue").write_text(f"#!/bin/bash\ncat <<'END'\n{QUEUE}END\n")
    (folder / "squeue").chmod(stat.S_IRWXU)
    return CampaignFolder(folder)


def test_a_job_behind_one_that_ended_badly_waits_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    campaign = queue(tmp_path, jobs=[*JOBS, *MORE])
    assert {job.id: state.in_vain for job, state in active(campaign).values()} == {
        "11": True,
        "13": True,  # behind 11
        "15": False,  # 12 did the same, and is the older
        "17": True,  # still waits for a job that Slurm has forgotten
        "18": False,
    }


def test_a_job_that_lrps_has_cancelled_is_gone_though_slurm_still_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    campaign = queue(tmp_path, '{"event": "cancelled", "jobs": ["19"]}', jobs=LATE)
    assert {job.id: state.in_vain for job, state in active(campaign).values()} == {"20": True}


def test_what_follows_cancelled_jobs_is_found_over_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = active(queue(tmp_path, jobs=[*JOBS, *LATE]))
    assert [job.id for job in followers(found, {"10"})] == ["11", "12", "13"]
    assert [job.id for job in followers(found, {"11"})] == ["13"]
    assert [job.id for job in followers(found, {"13"})] == []


def test_without_slurm_its_absence_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusedError, match="squeue is not on the PATH of this machine"):
        job_states(["1"])
    with pytest.raises(RefusedError, match=r"launch\.slurm is not in the plan"):
        job_requests(campaign_of(), None, {})
