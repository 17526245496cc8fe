"""Hybrid models of attention, MLP and expert layers, trained on a CPU through the plugin's own entry."""

import shutil
from pathlib import Path

import pytest

from tests.training.campaigns import losses, train_path, write_campaign

pytestmark = pytest.mark.training
MAMBA = ", mamba-num-groups: 2, mamba-state-dim: 16, mamba-head-dim: 16"


def campaign(folder: Path, pattern: str, more: str = "") -> Path:
    """Write a campaign of a hybrid model; main forks at 4, v1 ends at 8."""
    folder.mkdir()
    plan = write_campaign(folder)
    plan.write_text(plan.read_text().replace("num-layers: 2", f'hybrid-layer-pattern: "{pattern}"{more}'))
    return plan


def trained(plan: Path, path: str, *flags: str, code: int = 0) -> dict[int, float]:
    ended = train_path(plan, path, *flags)
    assert ended.codes == [code], ended.log[-3000:]
    return losses(plan, path)


@pytest.mark.parametrize(
    ("pattern", "more"),
    [
        pytest.param("*-*E", ", num-experts: 4, moe-router-topk: 2", id="attention"),
        pytest.param("M*M-", MAMBA, id="mamba"),
    ],
)
def test_a_hybrid_model_forks_and_resumes_digit_for_digit(tmp_path: Path, pattern: str, more: str) -> None:
    plan = campaign(tmp_path / "stopped", pattern, more)
    main = trained(plan, "main", "--lrps-until", "6")
    shutil.copytree(plan.parent, tmp_path / "whole")
    trained(plan, "v1", "--exit-interval", "6", code=75)
    resumed = trained(plan, "v1")
    assert resumed[5] == main[5]
    assert sorted(resumed) == [5, 6, 7, 8]
    assert trained(tmp_path / "whole" / "plan.yaml", "v1") == resumed


def test_a_gpts_weights_go_into_the_layers_of_a_pattern(tmp_path: Path) -> None:
    """Megatron loads the optimizer's state with them, and only a reshardable one."""
    first = {}
    weights = tmp_path / "gpt" / "run" / "paths" / "main" / "checkpoints"
    start = f", dist-ckpt-optim-fully-reshardable: true, pretrained-checkpoint: {weights}"
    for name, model in (
        ("gpt", "num-layers: 2, dist-ckpt-optim-fully-reshardable: true"),
        ("again", f"num-layers: 2{start}"),
        ("hybrid", f'hybrid-layer-pattern: "*-*-"{start}'),
    ):
        (tmp_path / name).mkdir()
        plan = write_campaign(tmp_path / name)
        plan.write_text(plan.read_text().replace("num-layers: 2", model))
        first[name] = trained(plan, "main", "--lrps-until", "2")[1]
    assert first["hybrid"] == first["again"] != first["gpt"]
