"""Ranks that NVIDIA's ft_launcher starts: the real one, where the package is there, and the refusal where it is not."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.ft_launcher import launcher, refuse_without_ft_launcher
from megatron_lrps.launch.local.ranks import writers
from megatron_lrps.launch.preflight import refuse_unfit_libraries
from megatron_lrps.plan import parse_plan
from megatron_lrps.plan.async_saves import NVRX, installed, is_old_nvrx
from tests.launch.campaign import PLAN
from tests.launch.local.test_stopped_run import start, wait_for_iteration
from tests.training.campaigns import write_campaign

NVRX_HERE = installed(NVRX)
GIVEN = PLAN.replace("local: {processes: 2", "ft_launcher: true, local: {processes: 2")


def test_the_limits_are_those_of_the_rule_for_stalls(tmp_path: Path) -> None:
    plan = parse_plan(GIVEN + "alerts: {stall_least: 400, stall_pause: 1800}\n", base=tmp_path)
    line = " ".join(launcher(plan, 2))
    assert line.startswith("nvidia_resiliency_ext.fault_tolerance.launcher --standalone --nproc-per-node 2 --log-dir ")
    assert line.endswith(
        "--max-restarts 0 --ft-rank-out-of-section-timeout 1800 --ft-rank-section-timeouts "
        "setup:1800,step:800,checkpointing:1800"
    )
    assert launcher(parse_plan(PLAN, base=tmp_path), 2)[0] == "torch.distributed.run"


@pytest.mark.parametrize("version", [None, "0.4.1"])
def test_it_is_refused_where_it_cannot_be_had(version: str | None, tmp_path: Path, monkeypatch: Any) -> None:
    if version is None and NVRX_HERE is not None:
        pytest.skip(f"{NVRX} is installed here")
    if version is not None:  # as pip leaves it
        info = tmp_path / f"nvidia_resiliency_ext-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NVRX}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RefusedError) as refused:
        refuse_without_ft_launcher(parse_plan(GIVEN, base=tmp_path))
    assert str(refused.value) == (
        "launch.ft_launcher is true, and Megatron's heartbeats need nvidia-resiliency-ext 0.6 or newer: it is "
        f"{version or 'not installed'}. Fix: use a NeMo container, which has it (package indexes end at 0.4.1), or "
        "remove launch.ft_launcher: alerts.stall_ends ends ranks that hang too."
    )
    refuse_without_ft_launcher(parse_plan(PLAN, base=tmp_path))
    slurm = parse_plan(GIVEN.replace("device: cpu", "device: cpu, slurm: {gpus_per_node: 2}"), base=tmp_path)
    with pytest.raises(RefusedError, match="is true, and Megatron's heartbeats need"):
        refuse_unfit_libraries(slurm)
    in_a_container = slurm.launch.slurm.model_copy(update={"container": "nemo.sqsh"})
    launch = slurm.launch.model_copy(update={"slurm": in_a_container})
    refuse_unfit_libraries(slurm.model_copy(update={"launch": launch}))


@pytest.mark.training
@pytest.mark.skipif(
    NVRX_HERE is None or is_old_nvrx(NVRX_HERE), reason=f"needs {NVRX} 0.6 or newer, which package indexes do not have"
)
def test_a_rank_that_hangs_is_killed_by_its_monitor_and_the_same_command_goes_on(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path, extra=", tensor-model-parallel-size: 2", processes=2)
    lines = [line for line in plan.read_text().splitlines() if "name: v2" not in line]
    text = "\n".join([*lines, "alerts: {stall_least: 4, stall_pause: 60}"]).replace("iters: 8", "iters: 60")
    plan.write_text(text.replace("local: {", "ft_launcher: true, local: {"))
    logs = tmp_path / "run" / "paths" / "main" / "logs"
    executor = start(plan)
    try:
        wait_for_iteration(plan, "main", 8)  # the first five are no steps for the monitor
        (victim,) = [
            pid
            for pid in writers(logs.glob("*.log"))
            if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{pid}/environ").read_bytes() and os.getsid(pid) == pid
        ]
        os.kill(victim, signal.SIGSTOP)
        output, _ = executor.communicate(timeout=150)
    finally:
        executor.kill()
    said = "".join(log.read_text() for log in logs.glob("*.log"))
    assert "Section 'step' has been open for " in said
    assert executor.returncode == 1, output[-3000:]
    assert "Traceback" not in output
    assert "rank 1 was ended by signal 9" in output or "rank 0 was ended by signal 9" in output, output[-3000:]
    assert not writers(logs.glob("*.log"))
    executor = start(plan)
    wait_for_iteration(plan, "v1", 32)
    executor.send_signal(signal.SIGTERM)
    output, _ = executor.communicate(timeout=200)
    assert executor.returncode == 75, output[-3000:]
    assert "; nothing is lost." in output
