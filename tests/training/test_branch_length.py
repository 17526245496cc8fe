"""A branch of another sequence length: it loads its fork point, resumes digit for digit, and says what it reads."""

import shutil
from pathlib import Path

import pytest

from megatron_lrps.campaign import lineage
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.data_ledger import totals_of
from megatron_lrps.plan.data_files import validation_sets
from tests.training.campaigns import losses, train_path, write_campaign

pytestmark = pytest.mark.training

ROPE = ", position-embedding-type: rope, max-position-embeddings: 32"
OWN = "branch: {data: [[1.0, v1]], sequence_length: 64, megatron: {rotary-base: 500000, micro-batch-size: 1}}\n"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Main to v1's fork, and v1 in two pieces: (4, 6] and (6, 8]."""
    plan = write_campaign(tmp_path_factory.mktemp("length"), extra=ROPE)
    plan.write_text(plan.read_text() + OWN)
    for path, flags, code in (
        ("main", ["--lrps-until", "4"], 0),
        ("v1", ["--exit-interval", "6"], 75),
        ("v1", [], 0),
    ):
        ended = train_path(plan, path, *flags)
        assert ended.codes == [code], ended.log[-3000:]
        (plan.parent / f"{path}.log").write_text(ended.log)
    return plan


def test_it_forks_and_resumes(plan: Path) -> None:
    assert [*losses(plan, "v1")] == [5, 6, 7, 8]
    again = plan.parent / "again"
    again.mkdir()
    whole = write_campaign(again, extra=ROPE)
    whole.write_text(plan.read_text())
    shutil.copytree(plan.parent / "run" / "paths" / "main", again / "run" / "paths" / "main")
    assert train_path(whole, "v1").codes == [0]
    assert losses(whole, "v1") == losses(plan, "v1")


def test_its_first_run_says_what_it_reads(plan: Path) -> None:
    log = (plan.parent / "v1.log").read_text()
    assert "batch          4 samples x 64 tokens, micro-batch 1" in log


def test_ledger_and_tokens_count_its_own_length(plan: Path) -> None:
    campaign = Campaign.open(plan)
    tree, path = campaign.tree, campaign.path("v1")
    assert tree.tokens(path, 8) == 4 * 4 * 32 + 4 * 4 * 64
    facts = lineage.facts_of(campaign, "v1")
    assert facts.values["sequence_length"] == 64
    ledger = lineage.ledger_of(campaign, facts, lineage.chain_of(campaign, facts))
    (total,) = totals_of(ledger)
    assert total.samples == 32
    assert total.epochs == pytest.approx((16 * 32 + 16 * 64) / total.known["tokens"])
    assert [*validation_sets(tree, path)] == ["v1-a"]


def test_another_length_of_a_begun_branch_is_refused(plan: Path) -> None:
    text = plan.read_text()
    try:
        for old, new, words in (
            ("sequence_length: 64", "sequence_length: 48", "branch.sequence_length: 64 has been trained"),
            ("rotary-base: 500000", "rotary-base: 10001", "branch.megatron: {'rotary-base': 500000} has been trained"),
        ):
            plan.write_text(text.replace(old, new))
            ended = train_path(plan, "v1")
            assert ended.codes == [78]
            assert words in ended.log
    finally:
        plan.write_text(text)
