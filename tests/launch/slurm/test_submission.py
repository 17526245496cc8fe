"""The dry run of a submission; tests/slurm submits."""

import shlex
import stat
import subprocess
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.launch.slurm.job_requests import job_requests
from megatron_lrps.launch.slurm.submission import as_shell
from tests.plan.plans import tree_of


def test_the_dry_run_is_a_script_that_submits_the_same(tmp_path: Path) -> None:
    partition = "a'b$(touch${IFS}x)"  # quoted, whatever the plan holds
    jobs = job_requests(Campaign(tree_of(launch={"slurm": {"partition": partition}})), None, {})
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
