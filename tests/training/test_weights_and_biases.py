"""Real Weights & Biases, offline: it walks each new checkpoint while the plugin hashes it."""

import importlib.util
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from tests.training.campaigns import train_path, write_campaign

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(
        importlib.util.find_spec("wandb") is None, reason="needs wandb, which no part of the plugin does"
    ),
]


def test_a_run_that_logs_its_checkpoints_as_artifacts_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    plan = write_campaign(tmp_path, extra=", wandb-project: tiny, wandb-exp-name: main")
    plan.write_text(plan.read_text().replace("iters: 8", "iters: 20").replace("interval: 100,", "interval: 1,"))
    ended = train_path(plan, "main")
    assert ended.codes == [0], ended.log[-3000:]
    folder = CampaignFolder(tmp_path / "run").path("main").checkpoints
    saved = Checkpoints.in_folder(folder).complete
    assert saved == tuple(range(1, saved[-1] + 1))
    assert all(Checkpoint(folder, iteration).digest for iteration in saved)  # every one was walked, and hashed
    assert (folder / "latest_wandb_artifact_path.txt").is_file()
