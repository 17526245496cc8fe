"""The model card tells what made the version, and no more."""

from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.lineage import chain_of, facts_of
from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.model_card import about_model, lineage_of, model_card
from tests.plan.plans import tree_of

MODEL = Model(
    family="llama",
    layers=2,
    hidden=64,
    ffn=192,
    heads=4,
    groups=4,
    head_dim=16,
    vocab=128,
    positions=32,
    epsilon=1e-5,
    tied=True,
)


def test_main_is_told_up_to_the_fork() -> None:
    """v1 forks at 400 of main, which goes on to 1,400 for v2."""
    tree = tree_of()
    campaign = Campaign(tree)
    facts = facts_of(campaign, "v1")
    links = chain_of(campaign, facts)
    lineage = lineage_of(facts, links, [facts_of(campaign, link.path) for link in links], [])
    assert lineage.schedules == {
        "main": ["hold at 0.0003 (0, 400]"],
        "v1": ["hold at 0.0003 (0, 400]", "cosine from 0.0003 to 3e-05 (400, 1,000]"],
    }


def test_an_adopted_run_is_named(tmp_path: Path) -> None:
    """v1 forks at 500 of main, whose first 100 iterations are a run's that lies beside the plan."""
    tree = tree_of(main={"adopt": str(tmp_path / "runs" / "stock"), "iteration": 100})
    campaign = Campaign(tree)
    facts = facts_of(campaign, "v1")
    links = chain_of(campaign, facts)
    lineage = lineage_of(facts, links, [facts_of(campaign, link.path) for link in links], [])
    for base, folder in ((tmp_path, "runs/stock"), (Path("/elsewhere"), "stock")):
        card = model_card(
            lineage,
            about_model(MODEL, "bf16"),
            name="v1",
            iteration=1100,
            sha256=None,
            tokenizer="",
            ignored=(),
            base=base,
        )
        assert r"| made by | main (100, 500\] -&gt; v1 (500, 1,100\] |" in card
        assert f"| main | adopted from {folder} at iteration 100 |" in card
