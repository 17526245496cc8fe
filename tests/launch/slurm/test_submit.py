"""What sbatch is asked for, from the plan; the jobs themselves are tests/slurm's."""

import shlex
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.launch.slurm.client import job_states
from megatron_lrps.launch.slurm.jobs import recorded
from megatron_lrps.launch.slurm.mounts import mounts
from megatron_lrps.launch.slurm.request import SCRIPTS, Request, requests
from megatron_lrps.launch.slurm.submit import as_shell
from megatron_lrps.versions.folder import CampaignFolder
from tests.plan.plans import tree_of


def jobs_of(**slurm: Any) -> list[Request]:
    return requests(tree_of(launch={"slurm": slurm}), None, {})


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
    jobs = requests(
        tree_of(
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
    tree = tree_of(launch={"slurm": {}}, save="runs/50%j")
    assert "--output=/campaigns/runs/50%%j/paths/main/logs/slurm-%j.log" in requests(tree, None, {})[0].options


def test_a_container_sees_what_files_link_to_and_what_the_plan_adds(tmp_path: Path) -> None:
    real = {name: tmp_path / name for name in ("disk", "hop", "hub", "data", "tokenizer", "hooks")}
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
        versions=[{"name": "v1", "iters": 10, "train": [[1.0, str(real["data"] / "a")]]}],
        tokenizer={"type": "huggingface", "model": str(real["tokenizer"])},
        alerts={"hook": [str(real["hooks"] / "tell"), "--loud"]},
    )
    assert mounts(tree.plan) == [
        tmp_path / "runs", real["data"], real["hop"], real["disk"], tmp_path, real["tokenizer"], real["hub"],
        real["hooks"], Path("/scratch/images"),
    ]  # fmt: skip


@pytest.mark.parametrize("folder", ["images", "/a:b", "/a,b", ""])
def test_a_mount_is_an_absolute_folder(folder: str) -> None:
    with pytest.raises(PlanError, match="is no absolute path without ',' and ':'"):
        tree_of(launch={"slurm": {"mounts": [folder]}})


def test_a_folder_that_no_list_of_mounts_can_hold_matters_to_a_container_alone() -> None:
    (main, *_) = requests(tree_of(launch={"slurm": {}}, save="runs/12:30"), None, {})
    assert main.env["LRPS_MOUNTS"] == ""
    with pytest.raises(RefusedError, match="/campaigns/runs/12:30 cannot be mounted into a container"):
        requests(tree_of(launch={"slurm": {"container": "/a.sif"}}, save="runs/12:30"), None, {})


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_a_signal_that_srun_keeps_for_itself_is_refused(signal: str) -> None:
    with pytest.raises(RefusedError, match=f"exit-signal: {signal}, but srun passes SIGUSR1 and SIGUSR2 on"):
        requests(tree_of(launch={"slurm": {}}, megatron={"exit-signal": signal}), None, {})


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
        "|".join([*job.part.key[:1], str(job.part.until), "--parsable", *job.options, ""]) + follows + f"{job.script}|"
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


def test_without_slurm_its_absence_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusedError, match="squeue is not on the PATH of this machine"):
        job_states(["1"])
    with pytest.raises(RefusedError, match=r"launch\.slurm is not in the plan"):
        requests(tree_of(), None, {})
