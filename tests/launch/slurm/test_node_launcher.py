"""What starts the ranks of a node: its options, read by ft_launcher itself where that is there, and its signals."""

import subprocess
import sys
from pathlib import Path

import pytest

from megatron_lrps.launch.slurm.node_launcher import main, options
from megatron_lrps.plan import parse_plan
from megatron_lrps.plan.async_saves import NVRX, installed, is_old_nvrx
from tests.launch.campaign import PLAN

NVRX_HERE = installed(NVRX)
TASK = {
    "SLURM_NODEID": "1", "SLURM_NNODES": "4", "SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2",
    "MASTER_ADDR": "node1", "MASTER_PORT": "20007",
}  # fmt: skip


def test_a_node_joins_the_others_of_its_start_of_the_job(tmp_path: Path) -> None:
    plan = parse_plan(PLAN + "alerts: {stall_least: 400, stall_pause: 1800}\n", base=tmp_path)
    line = " ".join(options(plan, 8, TASK))
    assert line == (
        "--nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint node1:20007 --rdzv-id 7-2 "
        "--rdzv-conf is_host=0 --log-dir /dev/null --max-restarts 0 --ft-rank-out-of-section-timeout 1800 "
        "--ft-rank-section-timeouts setup:1800,step:800,checkpointing:1800"
    )
    first = options(plan, 8, {**TASK, "SLURM_NODEID": "0"})
    assert [new for old, new in zip(options(plan, 8, TASK), first, strict=True) if new != old] == ["is_host=1"]


@pytest.mark.skipif(
    NVRX_HERE is None or is_old_nvrx(NVRX_HERE), reason=f"needs {NVRX} 0.6 or newer, which package indexes do not have"
)
def test_ft_launcher_reads_its_options(tmp_path: Path) -> None:
    code = (
        "import json, sys\nfrom nvidia_resiliency_ext.fault_tolerance.config import FaultToleranceConfig\n"
        "from nvidia_resiliency_ext.fault_tolerance.launcher import parse_args\nargs = parse_args(sys.argv[1:])\n"
        "limits = FaultToleranceConfig.from_args(args)\n"
        "print(limits.rank_section_timeouts, limits.rank_out_of_section_timeout, args.max_restarts, args.nnodes)\n"
        "print(args.training_script, args.module, args.training_script_args)"
    )
    given = [*options(parse_plan(PLAN, base=tmp_path), 8, TASK), "--module", "megatron_lrps.pretrain", "--lr", "1"]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *given], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "{'setup': 3600.0, 'step': 600.0, 'checkpointing': 3600.0} 3600.0 0 4",
        "megatron_lrps.pretrain True ['--lr', '1']",
    ], done.stderr


def test_a_node_that_lacks_the_package_refuses_and_leaves_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if NVRX_HERE is not None:
        pytest.skip(f"{NVRX} is installed here")
    plan, word = tmp_path / "plan.yaml", tmp_path / "word"
    plan.write_text(PLAN.replace("local: {", "ft_launcher: true, local: {"))
    monkeypatch.setenv("LRPS_FAILURE", str(word))
    assert main([str(plan), "8", "megatron_lrps.pretrain"]) == 78
    assert "lrps: launch.ft_launcher is true, and Megatron's heartbeats need" in capsys.readouterr().err
    assert word.read_text().startswith("78 rank 0: RefusedError: launch.ft_launcher is true")


def test_signals_for_all_processes_of_a_node_end_neither_the_launcher_nor_its_monitors() -> None:
    code = (
        "import multiprocessing, os, signal, subprocess, time\n"
        "from megatron_lrps.launch.slurm import node_launcher\n"
        "node_launcher._leave_signals_to_the_ranks()\n"
        "monitor = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))\n"
        "monitor.start()\n"
        "rank = subprocess.Popen(['sleep', '600'])\n"
        "subprocess.run(['kill', '-USR2', str(os.getpid()), str(monitor.pid), str(rank.pid)], check=True)\n"
        "subprocess.run(['kill', '-TERM', str(monitor.pid)], check=True)\n"
        "print(rank.wait(60) == -signal.SIGUSR2, monitor.is_alive())\n"
        "monitor.terminate()\n"  # as the launcher ends them
        "monitor.join(60)\n"
        "print(monitor.exitcode == -signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "True True\nTrue\n", done.stderr
