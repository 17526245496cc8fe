"""The version table of N=4, T=100, alpha=0.6, worked out by hand."""

import math

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.monitor.version_costs import version_costs
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.load import plan_text


@pytest.fixture
def campaign(tmp_path):
    return CampaignFolder(tmp_path / "run")


def test_lrps_costs_by_hand(make_tree, campaign):
    table = version_costs(Campaign(make_tree(4, 100)))
    assert [(row.version, row.path, row.fork, row.end, row.iterations) for row in table.rows] == [
        ("v1", "v1", 40, 100, 60),
        ("v2", "v2", 140, 200, 60),
        ("v3", "v3", 240, 300, 60),
        ("v4", "v4", 340, 400, 60),
    ]
    # Main up to the version's fork, and a branch of 60 for each version so far.
    assert [row.cost for row in table.rows] == [40 + 60, 140 + 120, 240 + 180, 340 + 240]
    assert [row.of_ptfs for row in table.rows] == [100 / 100, 260 / 300, 420 / 600, 580 / 1000]
    assert [row.of_cpt for row in table.rows] == [100 / 100, 260 / 200, 420 / 300, 580 / 400]
    (total,) = table.totals
    assert (total.paradigm, total.iterations, total.ptfs, total.cpt) == (
        "lrps",
        580,
        1000 * 4,
        400 * 4,
    )  # samples: 4 an iteration
    assert (total.of_ptfs, total.of_cpt) == (0.58, 1.45)


def test_a_cut_changes_no_planned_versions_price(make_tree, campaign, tmp_path):
    tree = make_tree(4, 100)
    text = f"{plan_text(tree.plan)}\ncuts: [{{name: hotfix, fork: 150, iters: 20}}]\n"
    with_cut = version_costs(Campaign(expand(parse_plan(text, base=tmp_path))))
    planned = {row.path: (row.cost, row.of_ptfs, row.of_cpt) for row in version_costs(Campaign(tree)).rows}
    shown = {row.path: (row.cost, row.of_ptfs, row.of_cpt) for row in with_cut.rows}
    # Its own 20, main to 150 and v1's branch of 60; retraining it and v1 would take 170 and 100.
    assert shown.pop("hotfix") == (230, 230 / 270, 230 / 170)
    assert shown == planned
    (total,) = with_cut.totals
    assert (total.iterations, total.cuts, total.ptfs, total.cpt) == (580, 20, 1000 * 4, 400 * 4)


def test_baselines_stand_beside_the_version(make_tree, campaign):
    table = version_costs(Campaign(make_tree(2, 100, paradigm="[lrps, ptfs, cpt]")))
    assert [(row.version, row.path, row.cost) for row in table.rows] == [
        ("v1", "v1", 100),
        ("v1", "ptfs-v1", 100),
        ("v1", "cpt-v1", 100),
        ("v2", "v2", 260),
        ("v2", "ptfs-v2", 300),
        ("v2", "cpt-v2", 200),
    ]
    assert [(total.paradigm, total.of_ptfs, total.of_cpt) for total in table.totals] == [
        ("lrps", 260 / 300, 260 / 200),
        ("ptfs", 1.0, 300 / 200),
        ("cpt", 200 / 300, 1.0),
    ]


def test_explicit_paths_count_what_their_versions_need(tmp_path, campaign):
    tree = expand(
        parse_plan(
            """
            campaign: own
            save: run
            sequence_length: 8
            global_batch_size: 4
            versions: [{name: v1, iters: 100}, {name: v2, iters: 100}]
            paths:
              - {name: trunk, end: 180, schedule: [{kind: hold}]}
              - {name: late, parent: trunk, fork: 150, end: 200, version: v2, schedule: [{kind: linear, until: 200}]}
              - {name: early, parent: trunk, fork: 80, end: 100, version: v1, schedule: [{kind: linear, until: 100}]}
            """,
            base=tmp_path,
        )
    )
    table = version_costs(Campaign(tree))
    assert [(row.version, row.path, row.cost) for row in table.rows] == [("v1", "early", 100), ("v2", "late", 220)]
    assert table.totals[0].iterations == 180 + 50 + 20  # the trunk was planned past its last fork


def test_perplexity_is_of_the_first_value_at_the_end(make_tree, campaign, log_job):
    tag = "lm loss validation-v1-web"
    log_job(campaign.tensorboard("v1"), [(tag, 80, 3.0), (tag, 100, 2.0), (tag, 100, 2.0), (tag, 100, 9.0)])
    log_job(campaign.tensorboard("v2"), [(tag, 180, 1.0)])  # still training
    log_job(campaign.tensorboard("v3"), [(tag, 300, 1000.0), ("lm loss validation-v2-web", 300, math.nan)])
    table = version_costs(Campaign(make_tree(3, 100)))
    assert list(table.rows[2].perplexity) == ["v1-web", "v2-web", "v3-web"]
    assert table.rows[0].perplexity == {"v1-web": math.exp(2.0)}
    assert table.rows[1].perplexity == {"v1-web": None, "v2-web": None}
    assert table.rows[2].perplexity["v1-web"] == math.inf
    assert math.isnan(table.rows[2].perplexity["v2-web"] or 0.0)
