"""What every command says of a main path that goes on from a run that was there: where it comes from, and its costs."""

import json
from pathlib import Path

import pytest
import yaml

from tests.campaign.checkpoints import save
from tests.conftest import Lrps
from tests.plan.plans import plan_dict, versions


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """100 iterations of a run, then v1 of 200, which forks at 200 and ends at 300."""
    save(tmp_path / "stock", 100)
    keys = plan_dict(main={"adopt": "stock", "iteration": 100}, decay={"alpha": 0.5}, versions=versions(200))
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(keys))
    return tmp_path / "plan.yaml"


def test_all_say_where_main_comes_from(plan: Path, lrps: Lrps) -> None:
    words = f"adopted from {plan.parent / 'stock'} at iteration 100"
    for command, said in (
        (("plan", plan), f"\nmain is {words}\n"),
        (("lr", plan), f"\nmain is {words}\n"),
        (("lr", plan, "--path", "v1"), None),
        (("status", plan), f"\nmain is {words}\n"),
        (("tree", plan), f"main  (100, 200]  ready, 0%, {words}\n"),
        (("show", plan, "main"), f"main, {words}\n"),
        (("show", plan, "v1"), f"{words} -> main at fork 200 -> v1\n"),
    ):
        code, out, err = lrps(*command)
        assert (code, err) == (0, "")
        assert (said or "adopted") in out if said else "adopted" not in out, out
    code, _, err = lrps("report", plan)
    assert code == 0, err
    page = (plan.parent / "runs/c/report/report.html").read_text()
    assert f"{words}</td>" in page
    assert f"main is {words}. Forks: v1 off main at 200." in page
    assert "scratch" not in page.partition("<h2")[2]


def test_json_names_the_folder(plan: Path, lrps: Lrps) -> None:
    facts = json.loads(lrps("plan", plan, "--json").stdout)
    folder = str(plan.parent / "stock")
    assert [(path["adopted"], path["fork"], path["iterations"]) for path in facts["paths"]] == [
        (folder, 100, 100),
        (None, 200, 100),
    ]
    assert (facts["cost"]["planned"], facts["cost"]["ptfs"], facts["cost"]["cpt"]) == (200, 300, 200)
    assert [window["version"] for window in facts["windows"]] == ["v1"]
    assert [path["adopted"] for path in json.loads(lrps("status", plan, "--json").stdout)["paths"]] == [folder, None]
    shown = json.loads(lrps("show", plan, "main", "--json").stdout)
    assert shown["adopted"] == {"folder": folder, "iteration": 100, "sha256": None}
    assert shown["chain"] == [{"path": "main", "start": 100, "until": 200, "adopted": folder}]


def test_a_run_that_is_not_there_is_refused_before_any_rank(plan: Path, lrps: Lrps) -> None:
    (plan.parent / "stock").rename(plan.parent / "elsewhere")
    for command in ("plan", "run"):
        code, _, err = lrps(command, plan)
        assert code == 78
        assert (
            err == f"lrps: main.adopt: {plan.parent}/stock is no folder. Fix: name the --save folder of the run, or "
            "mount it.\n"
        )
    code, out, _ = lrps("status", plan)
    assert (code, "stock has no checkpoint of iteration 100" in out) == (0, True)
