"""The version table of N=4, T=100, alpha=0.6, worked out by hand."""

import csv
import io
import json
import math

import pytest

from megatron_lrps.monitor.table import as_csv, as_json, as_markdown, as_text, version_table
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.load import plan_text
from megatron_lrps.versions.folder import CampaignFolder


@pytest.fixture
def campaign(tmp_path):
    return CampaignFolder(tmp_path / "run")


def test_lrps_costs_by_hand(make_tree, campaign):
    table = version_table(make_tree(4, 100), campaign)
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
    assert (total.paradigm, total.iterations, total.ptfs, total.cpt) == ("lrps", 580, 1000, 400)
    assert as_text(table).startswith("580 iterations: 58% of PTFS (1,000), 145% of CPT (400)\n")


def test_a_cut_changes_no_planned_versions_price(make_tree, campaign, tmp_path):
    tree = make_tree(4, 100)
    text = f"{plan_text(tree.plan)}\ncuts: [{{name: hotfix, fork: 150, iters: 20}}]\n"
    with_cut = version_table(expand(parse_plan(text, base=tmp_path)), campaign)
    planned = {row.path: (row.cost, row.of_ptfs, row.of_cpt) for row in version_table(tree, campaign).rows}
    shown = {row.path: (row.cost, row.of_ptfs, row.of_cpt) for row in with_cut.rows}
    # Its own 20, main to 150 and v1's branch of 60; retraining it and v1 would take 170 and 100.
    assert shown.pop("hotfix") == (230, 230 / 270, 230 / 170)
    assert shown == planned
    (total,) = with_cut.totals
    assert (total.iterations, total.cuts, total.ptfs, total.cpt) == (580, 20, 1000, 400)
    first = as_text(with_cut).partition("\n")[0]
    assert first == "580 iterations: 58% of PTFS (1,000), 145% of CPT (400); 20 more for cuts"


def test_baselines_stand_beside_the_version(make_tree, campaign):
    table = version_table(make_tree(2, 100, paradigm="[lrps, ptfs, cpt]"), campaign)
    assert [(row.version, row.path, row.cost) for row in table.rows] == [
        ("v1", "v1", 100),
        ("v1", "ptfs-v1", 100),
        ("v1", "cpt-v1", 100),
        ("v2", "v2", 260),
        ("v2", "ptfs-v2", 300),
        ("v2", "cpt-v2", 200),
    ]
    assert as_text(table).splitlines()[:3] == [
        "lrps: 260 iterations: 87% of PTFS (300), 130% of CPT (200)",
        "ptfs: 300 iterations: 100% of PTFS (300), 150% of CPT (200)",
        "cpt: 200 iterations: 67% of PTFS (300), 100% of CPT (200)",
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
    table = version_table(tree, campaign)
    assert [(row.version, row.path, row.cost) for row in table.rows] == [("v1", "early", 100), ("v2", "late", 220)]
    assert table.totals[0].iterations == 180 + 50 + 20  # the trunk was planned past its last fork


def test_perplexity_is_of_the_first_value_at_the_end(make_tree, campaign, log_job):
    tag = "lm loss validation-v1-web"
    log_job(campaign.tensorboard("v1"), [(tag, 80, 3.0), (tag, 100, 2.0), (tag, 100, 2.0), (tag, 100, 9.0)])
    log_job(campaign.tensorboard("v2"), [(tag, 180, 1.0)])  # still training
    log_job(campaign.tensorboard("v3"), [(tag, 300, 1000.0), ("lm loss validation-v2-web", 300, math.nan)])
    table = version_table(make_tree(3, 100), campaign)
    assert table.sets == ("v1-web", "v2-web", "v3-web")
    assert table.rows[0].perplexity == {"v1-web": math.exp(2.0)}
    assert table.rows[1].perplexity == {"v1-web": None, "v2-web": None}
    assert table.rows[2].perplexity["v1-web"] == math.inf
    assert math.isnan(table.rows[2].perplexity["v2-web"] or 0.0)
    assert json.loads(as_json(table))["versions"][2]["perplexity"] == dict.fromkeys(table.sets)


def test_text_fits_a_terminal(make_tree, campaign, log_job):
    log_job(campaign.tensorboard("v1"), [("lm loss validation-v1-web", 100, 2.0)])
    narrow = as_text(version_table(make_tree(2, 100), campaign))
    assert len(narrow.splitlines()) == 6
    assert narrow.splitlines()[4].split()[-2:] == ["7.389", "-"]
    wide = as_text(version_table(make_tree(12, 100), campaign))
    assert max(map(len, wide.splitlines())) <= 120
    assert "ppl v12-web" in wide


def test_csv_has_full_precision(make_tree, campaign, log_job):
    log_job(campaign.tensorboard("v1"), [("lm loss validation-v1-web", 100, 2.0)])
    rows = list(csv.DictReader(io.StringIO(as_csv(version_table(make_tree(2, 100), campaign)))))
    assert list(rows[0]) == [
        *("version", "paradigm", "path", "fork", "end", "iterations", "cost", "of_ptfs", "of_cpt"),
        *("perplexity_v1-web", "perplexity_v2-web"),
    ]
    assert float(rows[0]["perplexity_v1-web"]) == math.exp(2.0)
    assert rows[0]["perplexity_v2-web"] == ""
    assert float(rows[1]["of_ptfs"]) == 260 / 300


def test_json_keys(make_tree, campaign):
    data = json.loads(as_json(version_table(make_tree(1, 100), campaign)))
    assert data == {
        "campaign": "demo",
        "totals": {"lrps": {"iterations": 100, "cuts": 0, "ptfs": 100, "cpt": 100, "of_ptfs": 1.0, "of_cpt": 1.0}},
        "versions": [
            {
                "version": "v1",
                "paradigm": "lrps",
                "path": "v1",
                "fork": 40,
                "end": 100,
                "iterations": 60,
                "cost": 100,
                "of_ptfs": 1.0,
                "of_cpt": 1.0,
                "perplexity": {"v1-web": None},
            }
        ],
    }


def test_markdown(make_tree, campaign):
    assert as_markdown(version_table(make_tree(1, 1000), campaign)) == (
        "1,000 iterations: 100% of PTFS (1,000), 100% of CPT (1,000)\n"
        "\n"
        "| version | paradigm | path | fork | end | iterations | cost so far | of PTFS | of CPT | ppl v1-web |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| v1 | lrps | v1 | 400 | 1,000 | 600 | 1,000 | 100% | 100% | - |\n"
    )
