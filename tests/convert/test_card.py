"""The model card tells what made the version, and no more."""

from megatron_lrps.convert.card import lineage_of
from megatron_lrps.versions.facts import chain_of, facts_of
from megatron_lrps.versions.folder import CampaignFolder
from tests.plan.plans import tree_of


def test_main_is_told_up_to_the_fork() -> None:
    """v1 forks at 400 of main, which goes on to 1,400 for v2."""
    tree = tree_of()
    campaign = CampaignFolder(tree.plan.folder)
    facts = facts_of(campaign, [tree], "v1")
    links = chain_of(campaign, [tree], facts)
    lineage = lineage_of(facts, links, [facts_of(campaign, [tree], link.path) for link in links], [])
    assert lineage.schedules == {
        "main": ["hold at 0.0003 (0, 400]"],
        "v1": ["hold at 0.0003 (0, 400]", "cosine from 0.0003 to 3e-05 (400, 1,000]"],
    }
