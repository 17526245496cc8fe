"""The weights that a path without a parent starts from."""

from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.start_point import refuse_missing_weights
from megatron_lrps.errors import PlanError
from megatron_lrps.plan import expand, parse_plan
from tests.campaign.checkpoints import save
from tests.plan.plans import plan_dict


def test_weights_are_needed_until_the_path_has_saved(tmp_path: Path) -> None:
    plan = plan_dict(megatron={"pretrained-checkpoint": "imported"})
    tree = expand(parse_plan(yaml.safe_dump(plan), base=tmp_path))
    with pytest.raises(PlanError, match=rf"megatron\.pretrained-checkpoint: {tmp_path}/imported is no folder"):
        refuse_missing_weights(Campaign(tree), tree.path("main"))
    refuse_missing_weights(Campaign(tree), tree.path("v1"))  # starts from main's fork point
    (tmp_path / "imported").mkdir()
    refuse_missing_weights(Campaign(tree), tree.path("main"))
    (tmp_path / "imported").rmdir()
    save(CampaignFolder(tree.plan.folder).path("main").checkpoints, 400)
    refuse_missing_weights(Campaign(tree), tree.path("main"))
