"""The scripts on a real cluster without `lrps submit`, as slurm/README.md says; the ranks' Python is a stand-in."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm

ROOT = Path(__file__).resolve().parents[2]


def sbatch(cluster: Cluster, folder: Path, *command: str, **variables: str) -> str:
    """Submit from the project's folder with variables alone, wait for the job's end, and return what it said."""
    python = folder / "python"
    python.write_text('#!/bin/bash\necho "rank $RANK of $WORLD_SIZE, ${LRPS_FAILURE%-*-*}: $*"\n')
    python.chmod(0o755)
    (folder / "plan.yaml").touch()
    given = {"LRPS_PLAN": f"{folder}/plan.yaml", "LRPS_SAVE": f"{folder}/run", "LRPS_PYTHON": str(python)}
    (folder / "run").mkdir()
    done = subprocess.run(
        ["sbatch", "--parsable", f"--output={folder}/log", *command],
        cwd=ROOT, env={**os.environ, **cluster.env, **given, "LRPS_DEVICE": "cpu", **variables},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    cluster.until(lambda: cluster.state(job) in ("COMPLETED", "FAILED"), "the job ends")
    said = (folder / "log").read_text()
    assert cluster.state(job) == "COMPLETED", said
    return said


def test_main_alone(cluster: Cluster, tmp_path: Path) -> None:
    said = sbatch(cluster, tmp_path, "--nodes=2", "--ntasks-per-node=2", "slurm/main.sbatch", "--lr", "1")
    command = f"-m megatron_lrps.pretrain --lrps-plan {tmp_path}/plan.yaml --lrps-path main --lrps-cpu --lr 1"
    assert sorted(line for line in said.splitlines() if ": rank " in line) == [
        f"{rank}: rank {rank} of 4, {tmp_path}/run/paths/main/logs/failure: {command}" for rank in range(4)
    ]


def test_a_promotion_alone_has_one_task(cluster: Cluster, tmp_path: Path) -> None:
    said = sbatch(cluster, tmp_path, "--nodes=1", "slurm/promote.sbatch", "--gate", "gate.txt", LRPS_PATH="v1")
    rank = f"0: rank 0 of 1, {tmp_path}/run/paths/v1/logs/failure: "
    assert f"{rank}-m megatron_lrps.cli promote {tmp_path}/plan.yaml v1 --gate gate.txt\n" in said
