"""Alerts of real runs: recorded in the path's history, told to a real hook, and never in the way of training."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.launch.local.rank_output import LogFollower
from tests.campaign.test_alert_hook import HOOK, script, told
from tests.training.campaigns import losses, train_path, write_campaign


def alerts(folder: Path, path: str = "main") -> list[dict[str, Any]]:
    history = events(CampaignFolder(folder / "run").path(path))
    return [event for event in history if event["event"] == "alert"]


def diverging(folder: Path, rules: str, *, extra: str = "", processes: int = 1) -> Path:
    """Main of 43 iterations at an absurd learning rate of 3."""
    plan = write_campaign(folder, extra=extra, processes=processes)
    text = plan.read_text().replace("3.0e-3", "3.0").replace("iters: 8", "iters: 40")
    plan.write_text(f"{text}alerts: {rules}\n")
    return plan


@pytest.mark.training
def test_a_diverging_run_is_told_of_once_a_kind_and_trains_on(tmp_path: Path) -> None:
    script(tmp_path, HOOK.format(python=sys.executable, file=str(tmp_path / "told")))
    plan = diverging(tmp_path, "{window: 16, hook: [./hook]}")
    ended = train_path(plan, "main")
    assert ended.codes == [0]
    assert len(losses(plan, "main")) == 43
    found = alerts(tmp_path)
    kinds = [each["kind"] for each in found if not each["message"].endswith("of the last one")]
    assert len(kinds) == len(set(kinds))  # the cool-down of ten minutes
    assert {"grad_norm", "divergence"} <= set(kinds)
    spoken = told(tmp_path)
    assert sorted((each["kind"], each["iteration"]) for each in spoken) == sorted(
        (each["kind"], each["iteration"]) for each in found if each["values"]
    )
    divergence = next(each for each in spoken if each["kind"] == "divergence")
    assert divergence["values"]["median"] > divergence["values"]["best"] + 0.5
    assert (divergence["campaign"], divergence["path"]) == ("tiny", "main")
    # What the cool-down held back is counted in the end.
    assert any(each["message"].startswith("divergence: ") and not each["values"] for each in found)
    assert f"lrps: alert at iteration {divergence['iteration']}: divergence: the median loss of 16" in ended.log


@pytest.mark.training
def test_the_last_rank_judges_and_a_hook_that_fails_is_recorded(tmp_path: Path) -> None:
    script(tmp_path, "#!/bin/sh\necho no route to the pager\nexit 1\n")
    plan = diverging(tmp_path, "{window: 16, hook: [./hook]}", extra=", pipeline-model-parallel-size: 2", processes=2)
    assert train_path(plan, "main", ranks=2).codes == [0, 0]
    kinds = [each["kind"] for each in alerts(tmp_path) if each["values"]]
    assert {"grad_norm", "divergence"} <= set(kinds)
    assert len(kinds) == len(set(kinds))  # rank 0 has no loss, and keeps quiet
    failed = [each for each in events(CampaignFolder(tmp_path / "run").path("main")) if each["event"] == "hook_failed"]
    assert len(failed) == len(kinds)
    assert failed[0]["message"] == f"alerts.hook {tmp_path}/hook ended with 1: no route to the pager"


@pytest.mark.training
@pytest.mark.parametrize(
    ("flags", "ranks", "code", "said"),
    [
        ((), 1, 16, "with exit code 16: the local loss is NaN"),
        pytest.param((), 2, 16, "with exit code 16: the local loss is NaN", marks=pytest.mark.soak),
        pytest.param(("--rerun-mode", "disabled"), 1, 1, "the local loss is NaN", marks=pytest.mark.soak),
        (("--rerun-mode", "disabled"), 2, 1, "the local loss is NaN"),  # both ranks raise, and one says so
    ],
)
def test_a_nan_that_megatron_ends_the_run_for_is_an_alert(
    flags: tuple[str, ...], ranks: int, code: int, said: str, tmp_path: Path
) -> None:
    script(tmp_path, HOOK.format(python=sys.executable, file=str(tmp_path / "told")))
    plan = diverging(tmp_path, "{hook: [./hook]}")
    plan.write_text(plan.read_text().replace("max: 3.0,", "max: 1.0e+30,"))
    assert train_path(plan, "main", "--lr-warmup-init", "1e29", *flags, ranks=ranks).codes == [code] * ranks
    (alert,) = alerts(tmp_path)
    assert (alert["kind"], alert["iteration"]) == ("rejected", 2)  # the first step's weights are all that was needed
    assert said in alert["message"]
    assert [each["message"] for each in told(tmp_path)] == [alert["message"]]


@pytest.mark.training
def test_alerts_may_change_on_a_path_that_has_been_begun_and_a_missing_hook_is_refused(tmp_path: Path) -> None:
    plan = write_campaign(tmp_path)
    assert train_path(plan, "main", "--exit-interval", "4").codes == [75]
    plain = plan.read_text()
    plan.write_text(f"{plain}alerts: {{window: 16, hook: [./pager]}}\n")
    refused = train_path(plan, "main")
    assert refused.codes == [78]
    assert f"alerts.hook: '{tmp_path}/pager' is not a program on" in refused.log
    script(tmp_path, "#!/bin/sh\n").rename(tmp_path / "pager")
    folder = CampaignFolder(tmp_path / "run").path("main").root
    memory = json.loads((folder / "alerts.json").read_text())  # of the start before, of another window
    assert (memory["iteration"], memory["window"], len(memory["losses"])) == (4, 128, 4)
    plan.write_text(plan.read_text().replace("window: 16", "window: 128"))
    assert train_path(plan, "main").codes == [0]
    # The log's second line after a start is a mean of two iterations; what is shown is each one's own.
    shown = {step.iteration: step.loss for step in LogFollower(tmp_path / "rank0.log").steps()}
    assert shown == pytest.approx({each: loss for each, loss in losses(plan, "main").items() if each > 4}, abs=2e-5)
    assert not alerts(tmp_path)  # a run that learns
    memory = json.loads((folder / "alerts.json").read_text())
    assert memory["iteration"] == 11
    assert memory["losses"] == list(losses(plan, "main").values())  # those of before the resume too
