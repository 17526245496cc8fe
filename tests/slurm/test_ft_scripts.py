"""The scripts with LRPS_FT_LAUNCHER, without a cluster and without ft_launcher: what they would start, and what they
make of the one code that it ends with. What it does on a real Slurm is tested in test_ft_launcher.py.
"""

from pathlib import Path

from tests.slurm.test_scripts import Script


def test_ft_launcher_is_one_task_of_a_node_with_all_of_its_cores(tmp_path: Path) -> None:
    script = Script(tmp_path)
    given = {"LRPS_FT_LAUNCHER": "1", "SLURM_NTASKS": "16", "SLURM_CPUS_PER_TASK": "12"}
    step = next(line for line in script.run(**given).calls.splitlines() if "node_launcher" in line)
    options, _, command = step.partition(f" {script.bin}/python ")
    assert "--nodes=2 --ntasks=2 --ntasks-per-node=1 --cpu-bind=none --cpus-per-task=96" in options
    plan = f"{script.folder}/plan.yaml"
    assert command.startswith(
        f"-m megatron_lrps.launch.slurm.node_launcher {plan} 8 megatron_lrps.pretrain --lrps-plan {plan}"
    )
    uneven = script.run(**{**given, "SLURM_NTASKS": "15"})
    assert uneven.code == 78
    assert "15 ranks cannot be the same number on each of 2 nodes, as ft_launcher wants it." in uneven.said
    assert "node_launcher" not in script.run(script="promote", nodes="node1", LRPS_FT_LAUNCHER="1").calls


def test_ranks_that_ft_launcher_has_killed_are_requeued_and_one_that_fails_by_itself_is_not(tmp_path: Path) -> None:
    script = Script(tmp_path)
    assert script.run(SRUN_CODE="1", LRPS_FT_LAUNCHER="1").requeued
    word = 'echo "1 rank 3: ValueError: 5 experts" >"$LRPS_FAILURE"'
    failed = script.run(word, SRUN_CODE="1", LRPS_FT_LAUNCHER="1")
    assert (failed.code, failed.requeued) == (1, False)
    stopped = script.run(script.records("stopped", 75), SRUN_CODE="1", LRPS_FT_LAUNCHER="1")
    assert (stopped.requeued, "launch.slurm.leg_trained" in stopped.calls) == (True, False)
    refused = script.run(script.records("refused", 78), SRUN_CODE="1", LRPS_FT_LAUNCHER="1")
    assert (refused.code, refused.requeued) == (78, False)
