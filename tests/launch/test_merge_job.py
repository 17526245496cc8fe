"""A campaign of merged versions, by real Megatron: what `lrps run` makes of them."""

import json
from pathlib import Path

import pytest
from conftest import Lrps
from convert.models import write_llama_campaign

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.convert.weighted_mean import plan_mean

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan of versions of eight and six iterations; v1 is made of main at 4, 6 and 8, v2 at 7, 11 and 14."""
    plan = write_llama_campaign(tmp_path_factory.mktemp("campaign"))
    plan.write_text(plan.read_text() + "merge: {window: 0.75, checkpoints: 3}\n")
    return plan


def test_a_merged_version_is_made_scored_and_known_like_any_other(plan: Path, lrps: Lrps) -> None:
    code, out, err = lrps("run", plan)
    assert code == 0, err
    assert "v1: made, a mean of 3 checkpoints of main" in out
    campaign = Campaign.open(plan)
    path, folder = campaign.path("v1"), campaign.folder.path("v1")
    made = Checkpoint(folder.checkpoints, 8)
    assert made.is_whole
    assert standing_of(campaign, path).done
    # Its weights are those of the mean, bit for bit.
    mean = plan_mean([Checkpoint(campaign.folder.path("main").checkpoints, at) for at in (4, 6, 8)], [1 / 3] * 3)
    opened = open_checkpoint(made.folder)
    assert all((opened.read(b.key, b.index, b.start, b.stop) == mean.read(b)).all() for b in mean.blocks)
    record = read_record(folder)
    assert record is not None
    assert [(part["path"], part["iteration"]) for part in record["mean"]] == [("main", 4), ("main", 6), ("main", 8)]
    assert (record["fork"], record["end"], record["status"]) == (4, 8, "trained")
    # A second run finds nothing to do.
    code, out, _ = lrps("run", plan)
    assert (code, out.strip()) == (0, "All 3 paths of campaign tiny are trained; there is nothing to do.")
    code, out, err = lrps("compare", plan)
    assert code == 0, err
    assert "v1" in out
    for command in (("show", plan, "v1"), ("tree", plan), ("status", plan), ("plan", plan), ("report", plan)):
        code, out, err = lrps(*command)
        assert (code, err) == (0, ""), command
    code, out, _ = lrps("show", plan, "v1", "--json")
    facts = json.loads(out)
    assert sum(part["samples"] for part in facts["ledger"]["ranges"]) == 8 * campaign.plan.global_batch_size
    code, out, err = lrps("gc", plan)
    assert code == 0, err
    assert "nothing needs it" in out  # the parts, now that the version is made
    code, _, err = lrps("args", plan, "--path", "v1")
    assert code == 78
    assert "v1 is a mean of 3 checkpoints of main, and Megatron trains nothing for it" in err
