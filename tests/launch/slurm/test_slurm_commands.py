"""Slurm's commands where there are none; tests/slurm has them."""

from pathlib import Path

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.slurm.slurm_commands import job_states


def test_without_slurm_its_absence_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusedError, match="squeue is not on the PATH of this machine"):
        job_states(["1"])
