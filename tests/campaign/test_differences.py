"""What differs between two versions."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.differences import Comparison, compare
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.lineage import facts_of
from megatron_lrps.campaign.record import read_record, write_record
from megatron_lrps.plan import Tree, expand, parse_plan
from tests.campaign.records import digest, plan_with_data, write_path


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """main (0, 1400], v1 (400, 1000] and v2 (1400, 2000], the versions trained."""
    tree = expand(parse_plan(yaml.safe_dump(plan_with_data()), base=tmp_path))
    write_path(tree, "v1")
    write_path(tree, "v2")
    return tree


def change(tree: Tree, name: str, **keys: Any) -> None:
    folder = CampaignFolder(tree.plan.folder).path(name)
    record = read_record(folder)
    assert record is not None
    write_record(folder, record | keys)


def compared(tree: Tree, a: str, b: str) -> Comparison:
    campaign = Campaign(tree)
    return compare(facts_of(campaign, a), facts_of(campaign, b))


def differences(tree: Tree, a: str = "v1", b: str = "v2") -> dict[str, tuple[Any, Any]]:
    return {each.key: (each.a, each.b) for each in compared(tree, a, b).differences}


def test_two_versions_of_a_campaign(tree: Tree, tmp_path: Path) -> None:
    found = differences(tree)
    data = found.pop("data.v2")
    assert found == {
        "fork": (400, 1400),
        "end": (1000, 2000),
        "consumed_samples": (3200, 11200),
        "schedule.1": ("hold at 0.0003 (0, 400]", "hold at 0.0003 (0, 1,400]"),
        "schedule.2": ("cosine from 0.0003 to 3e-05 (400, 1,000]", "cosine from 0.0003 to 3e-05 (1,400, 2,000]"),
    }
    assert data[0] is None
    assert data[1]["iterations"] == 1000
    content = {"idx_sha256": digest("news"), "bin_bytes": 4096, "bin_sample_sha256": digest("bin"), "tokens": 1024}
    assert data[1]["train"] == {"news": {"weight": 1.0, **content}}
    assert compared(tree, "v1", "v2").one_sided == ()


def test_a_version_and_itself(tree: Tree) -> None:
    same = compared(tree, "v1", "v1")
    assert (same.differences, same.one_sided) == ((), ())
    v1, v2 = compared(tree, "v1", "v2"), compared(tree, "v2", "v2")
    assert same.same == v1.same + len(v1.differences) - 1  # all but the window that v1 lacks
    assert v2.same == same.same + 6  # its iterations, and five values of its data set


def test_layout_libraries_tokenizer_plan_and_weights(tree: Tree, tmp_path: Path) -> None:
    change(tree, "v2", layout={"tensor": 2, "pipeline": 1, "data": 2, "distributed_optimizer": False})
    change(tree, "v2", libraries={"torch": "2.14.0"}, plan_hash=digest("grown"))
    record = read_record(CampaignFolder(tree.plan.folder).path("v2"))
    assert record is not None
    record["data"]["tokenizer"] = digest("another")
    record["data"]["windows"][0]["data"][0][0] = 0.6
    record["data"]["windows"][0]["data"][1][2]["idx_sha256"] = digest("cut anew")
    change(tree, "v2", data=record["data"])
    found = differences(tree)
    assert found["layout.tensor"] == (1, 2)
    assert found["libraries.torch"][1] == "2.14.0"
    assert found["libraries.megatron-lrps"][1] is None
    assert found["plan_hash"][1] == digest("grown")
    assert found["tokenizer"] == (digest("tokenizer"), digest("another"))
    assert found["data.v1.train.web.weight"] == (0.7, 0.6)
    assert found["data.v1.train.code.idx_sha256"] == (digest("code"), digest("cut anew"))
    assert "layout.pipeline" not in found


def test_scores_and_releases(tree: Tree) -> None:
    change(tree, "v1", scores={"web": {"perplexity": 12.5}, "code": {"perplexity": 3.0}}, released="2026-11-24")
    change(tree, "v2", scores={"web": {"perplexity": 11.5}, "code": {"perplexity": 3.0}})
    found = differences(tree)
    assert found["scores.web.perplexity"] == (12.5, 11.5)
    assert found["released"] == ("2026-11-24", None)
    assert not [key for key in found if key.startswith("scores.code")]


def test_what_only_a_record_knows_is_no_difference(tree: Tree) -> None:
    CampaignFolder(tree.plan.folder).path("v2").record.unlink()
    comparison = compared(tree, "v1", "v2")
    assert comparison.one_sided == ("status", "consumed_samples", "plan_hash", "layout", "libraries", "tokenizer")
    assert [each.key for each in comparison.differences] == ["fork", "end", "schedule.1", "schedule.2", "data.v2"]
    assert "idx_sha256" not in str(comparison)
    back = compared(tree, "v2", "v1")
    assert set(back.one_sided) == set(comparison.one_sided)
    assert back.same == comparison.same
