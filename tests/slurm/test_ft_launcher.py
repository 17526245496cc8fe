"""ft_launcher starts the ranks of a job on a real cluster: they stop when asked, and a job with a rank that hangs is
requeued; a job whose nodes lack it says so.
"""

import os
import signal
import sys
from pathlib import Path

import pytest

from megatron_lrps.campaign.record import events
from megatron_lrps.plan.async_saves import NVRX, installed, is_old_nvrx
from tests.slurm.submitted import Submitted
from tests.training.campaigns import losses

pytestmark = [pytest.mark.slurm, pytest.mark.training]

NVRX_HERE = installed(NVRX)


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    NVRX_HERE is None or is_old_nvrx(NVRX_HERE), reason=f"needs {NVRX} 0.6 or newer, which package indexes do not have"
)
def test_ranks_of_ft_launcher_stop_when_asked_and_a_hang_is_requeued(submitted: Submitted) -> None:
    submitted.change("iters: 8", "iters: 80")
    submitted.change("save-interval: 100", "save-interval: 100, ft-num-warmup-iters: 3")
    submitted.change("nodes: 4, gpus_per_node: 1", "nodes: 2, gpus_per_node: 2")
    submitted.change("launch: {", "launch: {ft_launcher: true, ")
    submitted.plan.write_text(submitted.plan.read_text() + "alerts: {stall_least: 5, stall_pause: 90}\n")
    jobs = submitted.submit("--path", "main")
    job = jobs["main", min(end for path, end in jobs if path == "main")]
    main = submitted.folder.path("main")
    submitted.at("main", 2)
    submitted.cluster.run("scancel", "--batch", "--signal=USR1", job)  # as before the time limit
    submitted.started("main", 2)
    submitted.at("main", 8)
    submitted.cluster.run("scontrol", "requeue", job)  # Slurm sends TERM to every process
    submitted.started("main", 3)
    stops = [event["iteration"] for event in events(main) if event["event"] == "stopped" and event["exit_code"] == 75]
    starts = [event["iteration"] for event in events(main) if event["event"] == "started"]
    assert starts == [0, *stops]
    submitted.at("main", starts[-1] + 5)
    os.kill(submitted.rank("main", 1), signal.SIGSTOP)
    submitted.started("main", 4)
    submitted.ends(job, "COMPLETED")
    said = submitted.log("main")
    assert "Section 'step' has been open for " in said
    assert "to be continued: requeued, 1 of 3 since checkpoint 00" in said
    assert submitted.restarts(job) == 3
    assert sorted(losses(submitted.plan, "main")) == list(range(1, 41))


def test_a_job_whose_nodes_lack_the_package_is_refused_there(submitted: Submitted, tmp_path: Path) -> None:
    if NVRX_HERE is not None:
        pytest.skip(f"{NVRX} is installed here")
    submitted.change("nodes: 4, ", "nodes: 2, ")
    submitted.change("launch: {", "launch: {ft_launcher: true, ")
    done = submitted.lrps("submit")
    assert done.code == 78
    assert "launch.ft_launcher is true, and Megatron's heartbeats need nvidia-resiliency-ext 0.6" in done.stderr
    variables = {
        "LRPS_PLAN": str(submitted.plan), "LRPS_SAVE": str(submitted.folder.root), "LRPS_PYTHON": sys.executable,
        "LRPS_DEVICE": "cpu", "LRPS_FT_LAUNCHER": "1", "LRPS_SLURM_DIR": str(Path(__file__).parents[2] / "slurm"),
    }  # fmt: skip
    job = submitted.cluster.run(
        "env", *(f"{name}={value}" for name, value in variables.items()),
        "sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=2", f"--output={tmp_path}/log",
        Path(__file__).parents[2] / "slurm" / "main.sbatch",
    )  # fmt: skip
    submitted.ends(job, "FAILED")
    assert "ExitCode=78:0" in submitted.cluster.run("scontrol", "show", "job", job)
    said = (tmp_path / "log").read_text()
    assert "the first to fail was rank 0: RefusedError: launch.ft_launcher is true" in said
    assert submitted.restarts(job) == 0
