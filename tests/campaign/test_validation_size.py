"""Validation sets that no rank may be left out of."""

from pathlib import Path

import pytest
import yaml

from megatron_lrps.campaign.validation_size import refuse_small_sets
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import expand, parse_plan
from tests.plan.plans import plan_dict, versions
from tests.training.harness import write_tokens


def test_every_data_parallel_rank_needs_a_sample(tmp_path: Path) -> None:
    listed = versions(100, 100)
    listed[0]["valid"], listed[1]["valid"] = {"web": "web"}, {"code": "code"}
    tree = expand(parse_plan(yaml.safe_dump(plan_dict(versions=listed)), base=tmp_path))
    write_tokens(tmp_path / "web", [[1] * 33])  # two samples of 16 tokens and the label after them
    write_tokens(tmp_path / "code", [[1] * 16])
    refuse_small_sets(tree, tree.path("v1"), 2)
    with pytest.raises(RefusedError) as refusal:
        refuse_small_sets(tree, tree.path("v1"), 3)
    assert str(refusal.value) == (
        f"Validation set v1-web has 33 tokens ({tmp_path}/web), 2 samples of 16, and each of 3 data-parallel ranks "
        "needs one. Fix: give it 49 tokens or more."
    )
    with pytest.raises(RefusedError, match=r"Validation set v2-code has 16 tokens .*, 0 samples of 16"):
        refuse_small_sets(tree, tree.path("v2"), 1)
