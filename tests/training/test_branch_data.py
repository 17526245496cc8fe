"""A branch with data of its own: what it reads, and that it resumes digit for digit while main stays as it is."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign import lineage
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.data_ledger import totals_of
from megatron_lrps.campaign.differences import compare
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.convert.version_mean import make_version
from megatron_lrps.convert.weighted_mean import plan_mean
from megatron_lrps.plan import Tree, expand, parse_plan
from tests.plan.plans import plan_dict
from tests.training.campaigns import losses, train_path, write_campaign
from tests.training.numbered_samples import BATCH, origins, read, timeline, write_indexes

VERSIONS = [
    {"name": "v1", "samples": 96, "train": [[1.0, "./v1"]]},
    {"name": "v2", "samples": 40, "train": [[1.0, "./v2"]]},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("branch")
    write_indexes(root)
    return root


def tree_in(folder: Path, data: Any, **keys: Any) -> Tree:
    """v2's branch forks after 14 of 17 iterations, 112 samples, and reads 24."""
    return expand(parse_plan(yaml.safe_dump(plan_dict(versions=VERSIONS, branch={"data": data}, **keys)), base=folder))


def test_a_blend_is_drawn_by_its_weights_after_the_fork(folder: Path) -> None:
    tree = tree_in(folder, [[0.5, "v1"], [0.25, "./v2"], [0.25, "./code"]])
    samples = timeline(tree, "v2", position=112)
    assert [(each.version, each.length, each.samples is None) for each in samples.windows] == [
        ("main", 112, True),
        ("v2", 24, False),
    ]
    got = read(samples, 112)
    assert {name: origins(got).count(name) for name in ("v1", "v2", "v3", "code")} == {
        "v1": 12,
        "v2": 6,
        "v3": 0,
        "code": 6,
    }
    assert len(set(got)) == 24
    # A later start goes on in the same samples.
    assert read(timeline(tree, "v2", position=128), 128) == got[16:]
    # Main begins with other samples of the same index: 12 of 124 shared with 12 others would be 1.2 by chance.
    assert len(set(got) & set(read(timeline(tree, "main"), 0, 12))) < 6


def test_a_mixed_branch_reads_what_an_explicit_mixed_path_reads(folder: Path) -> None:
    pieces = [{"kind": "hold", "until": 14}, {"kind": "hold"}]
    trunk = {"name": "trunk", "end": 14, "schedule": pieces[:1]}
    listed = {"name": "v2", "parent": "trunk", "fork": 14, "end": 17, "order": "mixed", "schedule": pieces[1:]}
    explicit = expand(parse_plan(yaml.safe_dump(plan_dict(versions=VERSIONS, paths=[trunk, listed])), base=folder))
    branch = timeline(tree_in(folder, "mixed"), "v2", position=112)
    assert read(branch, 112) == read(timeline(explicit, "v2", position=112), 112)
    assert set(origins(read(branch, 112))) == {"v1", "v2"}


def test_two_branches_with_other_orders_differ_in_nothing_else(folder: Path) -> None:
    campaigns = [Campaign(tree_in(folder, data)) for data in ("window", "mixed", [[1.0, "./code"]])]
    window, mixed, blend = (lineage.facts_of(campaign, "v2") for campaign in campaigns)
    assert [each.key for each in compare(window, mixed).differences] == ["order"]
    assert [each.key for each in compare(window, blend).differences] == ["order"]
    assert compare(window, blend).one_sided == ("blend",)
    for campaign, facts in zip(campaigns, (window, mixed, blend), strict=True):
        ledger = lineage.ledger_of(campaign, facts, lineage.chain_of(campaign, facts))
        assert sum(stretch.samples for stretch in ledger) == 17 * BATCH
        assert sum(total.samples for total in totals_of(ledger)) == 17 * BATCH
        assert {stretch.path for stretch in ledger} == {"main", "v2"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two campaigns: one with the branch data from the start and stopped on the way, one without them for main."""
    plans = [write_campaign(tmp_path_factory.mktemp(name)) for name in ("stopped", "whole")]
    stopped, whole = plans
    plain = whole.read_text()
    own = plain.replace("valid: {a: data/valid}}", "valid: {a: data/valid}, branch: {data: mixed}}", 1)
    own += "branch: {data: [[0.5, v1], [0.5, data/curated]]}\n"
    for plan in plans:
        for suffix in ("bin", "idx"):  # the documents of v2 as an index of its own
            (plan.parent / f"data/curated.{suffix}").write_bytes((plan.parent / f"data/v2.{suffix}").read_bytes())
    stopped.write_text(own)
    runs: list[tuple[Path, str, list[str], int]] = [
        (stopped, "main", [], 0),
        (whole, "main", [], 0),
        (stopped, "v1", ["--exit-interval", "6"], 75),
        (stopped, "v1", [], 0),
        (whole, "v1", [], 0),
        (stopped, "v2", ["--exit-interval", "12"], 75),
        (stopped, "v2", [], 0),
        (whole, "v2", [], 0),
    ]
    for plan, path, flags, code in runs:
        if plan is whole and path != "main":
            whole.write_text(own)  # what a branch that has not begun reads may change
        ended = train_path(plan, path, *flags)
        assert ended.codes == [code], ended.log[-3000:]
    return stopped, whole


@pytest.mark.training
def test_main_is_the_same_with_and_without_branch_data(trained: tuple[Path, Path]) -> None:
    stopped, whole = trained
    assert losses(stopped, "main") == losses(whole, "main")
    assert len(losses(whole, "main")) == 11


@pytest.mark.training
@pytest.mark.parametrize("path", ["v1", "v2"])
def test_a_branch_with_its_own_data_resumes_digit_for_digit(trained: tuple[Path, Path], path: str) -> None:
    stopped, whole = trained
    assert losses(stopped, path) == losses(whole, path)
    fork, end = {"v1": (4, 8), "v2": (11, 14)}[path]
    assert [*losses(whole, path)] == [*range(fork + 1, end + 1)]


@pytest.mark.training
def test_the_record_of_a_blend_adds_up(trained: tuple[Path, Path]) -> None:
    campaign = Campaign.open(trained[0])
    facts = lineage.facts_of(campaign, "v2")
    assert facts.record == "read"
    assert facts.values["data"]["order"] == "blend"
    ledger = lineage.ledger_of(campaign, facts, lineage.chain_of(campaign, facts))
    assert [(each.path, each.version, each.order, each.start, each.until, each.samples) for each in ledger] == [
        ("main", "v1", "chained", 0, 8, 32),
        ("main", "v2", "chained", 8, 11, 12),
        ("v2", "v2", "blend", 11, 14, 12),
    ]
    # The copy of v2's documents has their content, and so counts as theirs.
    totals = {Path(each.prefix).name: (each.version, each.samples, each.replayed) for each in totals_of(ledger)}
    assert totals == {"v1": ("v1", 38, 6), "curated": ("v2", 18, 0)}


@pytest.mark.training
def test_data_of_a_begun_branch_that_change_are_refused(trained: tuple[Path, Path]) -> None:
    whole = trained[1]
    text = whole.read_text()
    whole.write_text(text.replace("[[0.5, v1], [0.5, data/curated]]", "mixed"))
    try:
        ended = train_path(whole, "v2")
        assert ended.codes == [78]
        assert "path v2, branch.data: a blend has been trained, the plan now says mixed." in ended.log
    finally:
        whole.write_text(text)


@pytest.mark.parametrize("data", ["window", "mixed", [[1.0, "./code"]]])
def test_the_branches_of_a_soup_read_the_same_samples_in_other_orders(folder: Path, data: Any) -> None:
    keys = plan_dict(versions=VERSIONS, branch={"data": data, "soup": 3})
    tree = expand(parse_plan(yaml.safe_dump(keys), base=folder))
    one, two, three = (read(timeline(tree, f"v2-{number}", position=112), 112) for number in (1, 2, 3))
    alone = tree_in(folder, data)
    assert one == read(timeline(alone, "v2", position=112), 112)
    assert sorted(one) == sorted(two) == sorted(three)
    assert len(set(one)) == 24
    assert one != two != three != one
    assert read(timeline(tree, "v2-3", position=128), 128) == three[16:]
    assert tree.path("v2").mean_words == "a mean of v2-1, v2-2 and v2-3"


def test_a_soup_is_trained_and_merged_and_its_branches_differ_in_order_alone(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    plan.write_text(plan.read_text() + "branch: {soup: 2}\n")
    for path in ("main", "v1-1", "v1-2"):
        assert train_path(plan, path).codes == [0]
    campaign = Campaign.open(plan)
    make_version(campaign, campaign.path("v1"), print)
    first, second = (losses(plan, path) for path in ("v1-1", "v1-2"))
    assert first.keys() == second.keys()
    assert first != second
    ends = campaign.folder.parts_of(campaign.path("v1"))
    mean, made = plan_mean(ends, [0.5, 0.5]), open_checkpoint(campaign.folder.path("v1").checkpoints / "iter_0000008")
    assert all((made.read(b.key, b.index, b.start, b.stop) == mean.read(b)).all() for b in mean.blocks)
    facts = lineage.facts_of(campaign, "v1")
    ledger = lineage.ledger_of(campaign, facts, lineage.chain_of(campaign, facts))
    assert sum(each.samples for each in ledger) == 8 * 4
