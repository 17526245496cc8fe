"""What of a campaign is still to be trained."""

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.untrained import paths_to_train
from megatron_lrps.plan import PlannedPath
from tests.launch.campaign import TinyCampaign, campaign

__all__ = ["campaign"]  # a fixture


def names(paths: list[PlannedPath]) -> list[str]:
    return [path.name for path in paths]


def test_paths_to_train_are_those_without_a_complete_end(campaign: TinyCampaign) -> None:
    assert names(paths_to_train(campaign.campaign, None)) == ["main", "v1", "v2"]
    campaign.save("main", 4)
    campaign.save("main", 14)
    campaign.save("v1", 10, torn=True)
    assert names(paths_to_train(campaign.campaign, None)) == ["v1", "v2"]
    campaign.save("v2", 20)
    assert names(paths_to_train(campaign.campaign, None)) == ["v1"]
    assert paths_to_train(campaign.campaign, "v2") == []


def test_a_branch_alone_is_refused_before_its_fork_point_exists(campaign: TinyCampaign) -> None:
    with pytest.raises(RefusedError, match=r"path v1: The fork point at iteration 4 .*train the parent path"):
        paths_to_train(campaign.campaign, "v1")
    campaign.save("main", 4)
    assert names(paths_to_train(campaign.campaign, "v1")) == ["v1"]


def test_a_lost_fork_point_is_refused_before_anything_is_trained(campaign: TinyCampaign) -> None:
    campaign.save("main", 10)
    with pytest.raises(RefusedError, match=r"path v1: The fork point at iteration 4 .* there are 10"):
        paths_to_train(campaign.campaign, None)
    campaign.save("v1", 5)  # it has forked, and needs the fork point no more
    assert names(paths_to_train(campaign.campaign, None)) == ["main", "v1", "v2"]


def test_a_merge_whose_checkpoints_main_has_not_saved_is_refused(campaign: TinyCampaign) -> None:
    with campaign.plan.open("a") as plan:
        plan.write("merge: {window: 0.6, checkpoints: 3}\n")  # v1 of main at 6, 8 and 10
    campaign.save("main", 6)
    assert names(paths_to_train(campaign.campaign, None)) == ["main", "v1", "v2"]
    with pytest.raises(RefusedError, match=r"v1 is made of iteration 8 of main") as refused:
        paths_to_train(campaign.campaign, "v1")
    assert refused.value.fix == "train main up to it first."
    campaign.save("main", 10)
    with pytest.raises(RefusedError, match=r"v1 is made of iteration 8 of main.* there are 6, 10") as refused:
        paths_to_train(campaign.campaign, None)
    assert "main has passed it" in refused.value.fix
    campaign.save("main", 8)
    assert names(paths_to_train(campaign.campaign, "v1")) == ["v1"]
