"""The plan's trackers: none by default, no secrets in the plan, and a missing package is said before the start."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.accepted_plan import refuse_changed_past
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.optional_packages import refuse_missing_packages, wanted_packages
from tests.plan.keys.test_alerts import PLAN


def test_tensorboard_alone_is_the_default(tmp_path: Path) -> None:
    plan = parse_plan(PLAN, base=tmp_path)
    assert (plan.trackers.mlflow, plan.trackers.comet) == (None, None)
    assert not wanted_packages(plan)
    refuse_missing_packages(plan, "node7")


def test_a_password_in_an_address_is_refused_with_the_place_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"trackers\.mlflow\.uri") as refused:
        parse_plan(PLAN + "trackers: {mlflow: {uri: 'https://ann:pw@mlflow.example.org'}}\n", base=tmp_path)
    assert "MLFLOW_TRACKING_PASSWORD" in str(refused.value)


def test_a_missing_package_is_refused_by_the_key_that_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = parse_plan(
        PLAN + "megatron: {wandb-project: llama, log-straggler: true}\ntrackers: {mlflow: {}, comet: {}}\n",
        base=tmp_path,
    )
    assert list(wanted_packages(plan)) == [
        "megatron.wandb-project",
        "megatron.log-straggler",
        "trackers.mlflow",
        "trackers.comet",
    ]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "comet_ml" else object())
    with pytest.raises(RefusedError, match="comet-ml is not installed on node7") as refused:
        refuse_missing_packages(plan, "node7")
    assert refused.value.fix == "pip install comet-ml, or remove trackers.comet."


def test_a_running_campaigns_trackers_may_change(tmp_path: Path) -> None:
    before = expand(parse_plan(PLAN, base=tmp_path))
    after = expand(parse_plan(PLAN + "trackers: {mlflow: {experiment: llama}}\n", base=tmp_path))
    refuse_changed_past(before, after, {path.name: path.end for path in before.paths})
