"""On a GPU, in bf16 and in FP8 by Transformer Engine: a fork and a resume keep the scales, whatever the recipe."""

import math
from pathlib import Path

import pytest

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from tests.gpu.campaigns import LOCAL, RECIPES, lrps, train, why_not, write_gpu_campaign
from tests.training.campaigns import losses

pytestmark = [pytest.mark.gpu, pytest.mark.training]


def campaign(folder: Path, recipe: str, extra: str = "") -> Path:
    if recipe == "local":
        return write_gpu_campaign(folder, LOCAL + extra)
    if reason := why_not(recipe):
        pytest.skip(reason)
    return write_gpu_campaign(folder, RECIPES[recipe] + extra)


@pytest.mark.parametrize("recipe", ["local", *RECIPES])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(recipe: str, tmp_path: Path) -> None:
    """Main and a branch in one go, and with a stop in the middle of each: the same losses, digit for digit."""
    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    whole, stopped = campaign(tmp_path / "whole", recipe), campaign(tmp_path / "stopped", recipe)
    done = lrps(whole, "run")
    assert done.code == 0, done.stderr
    for path, until in (("main", "5"), ("main", "8"), ("v1", "12"), ("v1", "16")):
        ended = train(stopped, path, "--lrps-until", until)
        assert ended.code == 0, ended.stderr[-4000:]
    for path, last in (("main", 8), ("v1", 16)):
        mine = {iteration: loss for iteration, loss in losses(whole, path).items() if iteration <= last}
        assert all(math.isfinite(loss) for loss in mine.values())
        assert losses(stopped, path) == mine
    started = [
        event for event in events(CampaignFolder(stopped.parent / "run").path("v1")) if event["event"] == "started"
    ]
    assert [event["forked"] for event in started] == [True, False]


@pytest.mark.parametrize(("recipe", "other"), [("delayed", ""), ("delayed", RECIPES["tensorwise"])])
def test_another_precision_at_a_fork_is_refused(recipe: str, other: str, tmp_path: Path) -> None:
    plan = campaign(tmp_path, recipe)
    assert train(plan, "main", "--lrps-until", "8").code == 0
    plan.write_text(plan.read_text().replace(RECIPES[recipe], other))
    ended = train(plan, "v1")
    assert ended.code == 78
    assert "fp8" in ended.stderr


@pytest.mark.parametrize("recipe", ["local", "delayed", "blockwise"])
def test_an_asynchronous_save_is_whole(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "async").mkdir()
    plain = campaign(tmp_path / "plain", recipe)
    behind = campaign(
        tmp_path / "async", recipe, ", async-save: true, use-persistent-ckpt-worker: true, async-strategy: mcore"
    )
    for plan in (plain, behind):
        for path in ("main", "v1"):
            ended = train(plan, path, *(["--lrps-until", "8"] if path == "main" else []))
            assert ended.code == 0, ended.stderr[-4000:]
            assert "Disabling --async-save" not in ended.stdout + ended.stderr
    folder = CampaignFolder(behind.parent / "run")
    assert Checkpoint(folder.path("main").checkpoints, 8).is_complete
    assert losses(behind, "v1") == losses(plain, "v1")
    assert lrps(behind, "verify").code == 0
