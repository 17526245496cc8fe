"""The version table with scores, in every form."""

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.monitor.score_table import FORMS, ScoreTable, score_table
from megatron_lrps.monitor.version_costs import version_costs
from megatron_lrps.plan import expand, parse_plan

PLAN = """\
campaign: tiny
save: run
paradigm: [lrps, ptfs]
sequence_length: 32
global_batch_size: 4
decay: {alpha: 0.5}
versions:
  - {name: v1, iters: 8}
  - {name: v2, iters: 8}
"""


def result(ppl: float, *, limit: int | None = None, acc: float | None = None, iteration: int = 16) -> dict[str, Any]:
    tasks = {} if acc is None else {"arc_easy": {"metrics": {"acc": acc, "acc_stderr": 0.01}, "settings": {}}}
    found = {"perplexity": ppl, "loss": 1.0, "bits_per_byte": ppl / 10, "limit": limit, "length": 32}
    return {"iteration": iteration, "perplexity": {"v1-web": found}, "tasks": tasks}


def table(results: dict[str, dict[str, Any]], only: tuple[str, ...] = ()) -> ScoreTable:
    tree = expand(parse_plan(PLAN, base=Path("/nowhere")))
    return score_table(version_costs(Campaign(tree)), results, only=only)


SCORED = {"v2": result(9.5, acc=0.4), "ptfs-v2": result(9.0, acc=0.5), "v1": result(12.0, iteration=8)}


def test_the_best_of_a_version_is_marked_by_what_its_metric_means() -> None:
    found = table(SCORED)
    assert found.names == ("ppl/v1-web", "bpb/v1-web", "acc/arc_easy")
    assert found.best == {("ptfs-v2", "ppl/v1-web"), ("ptfs-v2", "bpb/v1-web"), ("ptfs-v2", "acc/arc_easy")}
    assert not found.notes
    text = FORMS["text"](found)
    assert "9.0000*" in text
    assert "9.5000*" not in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_score_that_is_no_number_is_said_and_is_never_the_best() -> None:
    for broken, best in (("v2", "ptfs-v2"), ("ptfs-v2", "v2")):
        found = table({"v2": result(9.5), "ptfs-v2": result(9.0), broken: result(math.nan)})
        assert found.best == {(best, "ppl/v1-web"), (best, "bpb/v1-web")}
        assert FORMS["text"](found).count("not finite") == 2


def test_what_was_not_measured_alike_is_said() -> None:
    found = table({**SCORED, "ptfs-v2": result(9.0, limit=1000, iteration=12)})
    assert "ppl/v1-web was not measured alike: limit is None for v1, 1000 for ptfs-v2." in found.notes
    assert "ptfs-v2 was scored at iteration 12, not at its end, 16." in found.notes


def test_without_scores_it_says_where_the_numbers_are_from() -> None:
    assert table({}).notes == (
        "No version has been evaluated: perplexities are those of the training's own validation.",
    )


VALID = """\
campaign: tiny
save: run
sequence_length: 32
global_batch_size: 4
decay: {alpha: 0.5}
versions:
  - {name: v1, iters: 8, train: [[1.0, t1]], valid: {web: w1}}
  - {name: v2, iters: 8, train: [[1.0, t2]], valid: {web: w2}}
"""
"""Two branches: v1 validates on v1-web, v2 on that and on v2-web."""


def validated(results: dict[str, dict[str, Any]]) -> ScoreTable:
    """v1 has ended its training with a perplexity of e, v2 with e and e squared."""
    tree = expand(parse_plan(VALID, base=Path("/nowhere")))
    one, two = ([(end, loss)] for end, loss in ((16, 1.0), (16, 2.0)))
    runs = {
        "main": {},
        "v1": {"lm loss validation-v1-web": [(8, 1.0)]},
        "v2": {"lm loss validation-v1-web": one, "lm loss validation-v2-web": two},
    }
    return score_table(version_costs(Campaign(tree), runs=runs), results)


def test_a_score_of_one_version_leaves_what_is_known_of_the_others() -> None:
    found = validated({"v2": result(9.5)})  # on v1-web alone
    assert found.scores["v1"] == {"ppl/v1-web": math.e}
    assert found.scores["v2"] == {"ppl/v1-web": 9.5, "bpb/v1-web": 0.95, "ppl/v2-web": math.exp(2)}
    assert found.trained == {("v1", "ppl/v1-web"), ("v2", "ppl/v2-web")}
    assert found.notes == ("† by the training's own validation at the path's end; all other scores by `lrps eval`.",)
    text = FORMS["text"](found)
    assert re.search(r"\nv1 +2\.7183† +- +-\n", text)
    assert re.search(r"\nv2 +9\.5000 +7\.3891† +0\.9500\n", text)
    assert "2.7183†" in FORMS["html"](found)
    assert r"2.7183\textdagger{}" in FORMS["latex"](found)
    v1, v2 = json.loads(FORMS["json"](found))["versions"]
    assert (v1["by_training"], v2["by_training"]) == (["ppl/v1-web"], ["ppl/v2-web"])
    rows = list(csv.DictReader(io.StringIO(FORMS["csv"](found))))
    assert [row["by_training"] for row in rows] == ["ppl/v1-web", "ppl/v2-web"]


def test_nothing_is_marked_where_all_scores_are_of_one_kind() -> None:
    assert "†" not in FORMS["text"](validated({}))
    assert json.loads(FORMS["json"](validated({})))["versions"][0]["by_training"] == ["ppl/v1-web"]
    both = {"v1": result(3.0, iteration=8), "v2": result(9.5)}
    both["v2"]["perplexity"]["v2-web"] = both["v2"]["perplexity"]["v1-web"]
    assert "†" not in FORMS["text"](validated(both))


def test_nothing_is_the_best_of_what_was_measured_in_two_ways() -> None:
    tree = expand(parse_plan(VALID.replace("save: run", "save: run\nparadigm: [lrps, ptfs]"), base=Path("/nowhere")))
    runs: dict[str, Any] = {path.name: {} for path in tree.paths}
    for path in ("v2", "ptfs-v2"):
        runs[path] = {"lm loss validation-v1-web": [(16, 1.0)], "lm loss validation-v2-web": [(16, 2.0 + len(path))]}
    versions = version_costs(Campaign(tree), runs=runs)
    found = score_table(versions, {"v2": result(9.5)})
    assert found.best == {("v2", "ppl/v2-web")}  # both by the training; v1-web is not


def test_versions_can_be_chosen() -> None:
    assert [row.path for row in table(SCORED, ("v2",)).rows] == ["v2", "ptfs-v2"]
    assert [row.path for row in table(SCORED, ("ptfs-v2",)).rows] == ["ptfs-v2"]


def test_csv_and_json_hold_every_number() -> None:
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(FORMS["csv"](table(SCORED))))}
    assert rows["v2"]["ppl/v1-web"] == "9.5"
    assert rows["v1"]["acc/arc_easy"] == ""
    assert rows["v2"]["cost"] == "20"  # main (0, 12], v1 (4, 8] and v2 (12, 16]
    whole = json.loads(FORMS["json"](table(SCORED)))
    assert whole["versions"][0]["scores"] == {"ppl/v1-web": 12.0, "bpb/v1-web": 1.2}


def test_html_is_well_formed() -> None:
    page = FORMS["html"](table(SCORED))
    root = ElementTree.fromstring(page.partition("\n")[2].replace('<meta charset="utf-8">', "").replace(
        '<meta name="viewport" content="width=device-width, initial-scale=1">', ""
    ))  # fmt: skip
    assert root.findtext(".//h1") == "Versions of tiny"
    assert len(root.findall(".//tbody/tr")) == 4
    assert [each.text for each in root.findall(".//strong")] == ["9.0000", "0.9000", "0.5000"]


def test_a_row_of_html_is_headed_by_its_path_which_is_single() -> None:
    body = FORMS["html"](table(SCORED)).partition("<tbody>")[2]
    assert re.findall(r'<th scope="row"[^>]*>([^<]*)</th>', body) == ["v1", "ptfs-v1", "v2", "ptfs-v2"]
    assert '<td class="text">v2</td><td class="text">ptfs</td><td>16</td>' in body


def test_latex_escapes_names() -> None:
    text = FORMS["latex"](table(SCORED))
    assert "acc/arc\\_easy" in text
    assert "\\textbf{9.0000}" in text
    assert text.count("\\\\\n") == 5
    assert "100\\%" in text


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_ends_with_one_line_feed(form: str) -> None:
    text = FORMS[form](table(SCORED))
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
