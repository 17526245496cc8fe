"""`lrps preview` on a main path that real Megatron has trained: what it merges, and what it leaves."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Lrps
from convert.models import write_llama_campaign
from training.campaigns import train_path

from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.convert.weighted_mean import plan_mean

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Main, which has saved at 2, 4, 6, 8, 10 and 11."""
    plan = write_llama_campaign(tmp_path_factory.mktemp("campaign"))
    plan.write_text(plan.read_text().replace("save-interval: 100", "save-interval: 2"))
    ended = train_path(plan, "main")
    assert ended.codes == [0], ended.log[-3000:]
    return plan


def previewed(lrps: Lrps, plan: Path, *options: str) -> dict[str, Any]:
    code, out, err = lrps("preview", plan, *options, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_mean_of_mains_last_checkpoints_is_scored_beside_main(plan: Path, lrps: Lrps, tmp_path: Path) -> None:
    before = sorted(plan.parent.rglob("*"))
    found = previewed(lrps, plan, "--window", "0.5", "--output", str(tmp_path / "merged"))
    assert [each["iteration"] for each in found["checkpoints"]] == [6, 8, 10, 11]  # after 5.5 of 11
    assert [each["weight"] for each in found["checkpoints"]] == [0.25] * 4
    (score,) = found["perplexity"]
    assert score["name"] == "v1-a"
    assert score["main"] != score["merged"]
    assert score["main"] == pytest.approx(score["merged"], rel=0.2)  # neighbours of an untrained model
    # Megatron has loaded it to score it; its weights are the mean of those that main has saved.
    opened = open_checkpoint(tmp_path / "merged/iter_0000011")
    main = [Checkpoint(plan.parent / "run/paths/main/checkpoints", each) for each in (6, 8, 10, 11)]
    mean = plan_mean(main, [0.25] * 4)
    assert all((opened.read(b.key, b.index, b.start, b.stop) == mean.read(b)).all() for b in mean.blocks)
    assert sorted(plan.parent.rglob("*")) == before


def test_without_an_output_nothing_is_kept_and_few_are_thinned_evenly(plan: Path, lrps: Lrps) -> None:
    before = sorted(plan.parent.rglob("*"))
    found = previewed(lrps, plan, "--window", "1", "--checkpoints", "3", "--weights", "1-sqrt", "--tokens", "200")
    assert [each["iteration"] for each in found["checkpoints"]] == [2, 6, 11]
    assert sum(each["weight"] for each in found["checkpoints"]) == pytest.approx(1)
    assert sorted(plan.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--window", "0.05"), "Main has one checkpoint in the last 5% of its 11 iterations, and a mean needs two."),
        (("--weights", "knee"), "--weights knee is unknown. Fix: choose one of mean, ema, cosine,"),
    ],
)
def test_what_cannot_be_merged_is_refused(plan: Path, lrps: Lrps, options: tuple[str, ...], says: str) -> None:
    code, _, err = lrps("preview", plan, *options)
    assert code == 78
    assert says in err


def test_a_main_without_checkpoints_is_refused(lrps: Lrps, tmp_path: Path) -> None:
    code, _, err = lrps("preview", write_llama_campaign(tmp_path))
    assert code == 78
    assert "Main has saved no checkpoint yet. Fix: train it first" in err
