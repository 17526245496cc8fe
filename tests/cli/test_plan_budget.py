"""`lrps plan --budget`: what it prints, and that nothing is changed."""

import json
from pathlib import Path

import yaml
from conftest import Lrps
from plan.plans import plan_dict, versions


def written(folder: Path) -> Path:
    plan = folder / "plan.yaml"
    plan.write_text(yaml.safe_dump(plan_dict(versions=versions(1000, 1000, 1000, 1000))))
    return plan


def test_the_choices_are_said_with_their_reasons_and_the_keys_to_put_into_the_plan(lrps: Lrps, tmp_path: Path) -> None:
    plan = written(tmp_path)
    before = plan.read_text()
    code, out, err = lrps("plan", plan, "--budget", "0.5")
    assert (code, err) == (0, "")
    assert (
        "With this budget: 4,600 iterations, 46.0% of PTFS. No forecast is there, so stated defaults were taken" in out
    )
    assert "v2       a merge" in out
    assert "a branch of alpha 0.6 takes 600, and 400 are left" in out
    assert "versions.v3: {merge: false, decay: {alpha: 0.6}}" in out
    assert plan.read_text() == before
    code, out, _ = lrps("plan", plan, "--budget", "0.5", "--json")
    assert [each["alpha"] for each in json.loads(out)["budget"]["versions"]] == [None, None, 0.6, 0.6]


def test_a_budget_that_main_alone_exceeds_is_refused(lrps: Lrps, tmp_path: Path) -> None:
    code, _, err = lrps("plan", written(tmp_path), "--budget", "0.3")
    assert code == 78
    assert "--budget 0.3 of PTFS is 3,000 iterations, and main takes 4,000" in err
