"""Alerts of real runs: recorded in the path's history, told to a real hook, and never in the way of training."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.record import events
from megatron_lrps.plan.keys.alerts import Alerts
from megatron_lrps.training.alert_raising import run_hook
from tests.training.campaigns import losses, train_path, write_campaign

HOOK = """\
#!{python}
import json, os, sys
told = json.load(sys.stdin)
told["environment"] = {{key: value for key, value in os.environ.items() if key.startswith("LRPS_ALERT_")}}
with open({file!r}, "a") as file:
    file.write(json.dumps(told) + "\\n")
"""


def script(folder: Path, text: str) -> Path:
    file = folder / "hook"
    file.write_text(text)
    file.chmod(0o755)
    return file


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


def alerts(folder: Path, path: str = "main") -> list[dict[str, Any]]:
    history = events(CampaignFolder(folder / "run").path(path))
    return [event for event in history if event["event"] == "alert"]


def test_a_hook_gets_the_facts_without_a_shell(tmp_path: Path) -> None:
    hook = script(tmp_path, HOOK.format(python=sys.executable, file=str(tmp_path / "told")))
    facts = {"kind": "loss_spike", "iteration": 7, "message": "$(touch it) `id`", "values": {"loss": 9.5}}
    assert run_hook([str(hook), "$HOME;"], facts, tmp_path, Alerts()) is None
    (one,) = told(tmp_path)
    environment = one.pop("environment")
    assert one == facts
    assert environment == {
        "LRPS_ALERT_KIND": "loss_spike",
        "LRPS_ALERT_ITERATION": "7",
        "LRPS_ALERT_MESSAGE": "$(touch it) `id`",
    }
    assert not (tmp_path / "it").exists()


def test_a_hooks_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    hook = script(tmp_path, "#!/bin/sh\necho the pager is off >&2\nexit 3\n")
    assert run_hook([str(hook)], {}, tmp_path, Alerts()) == f"alerts.hook {hook} ended with 3: the pager is off"
    silent = script(tmp_path, "#!/bin/sh\nexit 1\n")
    assert str(run_hook([str(silent)], {}, tmp_path, Alerts())).endswith("ended with 1: it said nothing")
    assert "could not be run" in str(run_hook([str(tmp_path / "none")], {}, tmp_path, Alerts()))


def test_a_hook_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    hook = script(tmp_path, f"#!/bin/sh\n(sleep 2; touch {tmp_path}/late) &\nsleep 600\n")
    failure = run_hook([str(hook)], {}, tmp_path, Alerts(hook_timeout=0.3))
    assert failure == f"alerts.hook {hook} was killed after 0.3 s"
    time.sleep(2.5)
    assert not (tmp_path / "late").exists()


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
    assert not alerts(tmp_path)  # a run that learns
    memory = json.loads((folder / "alerts.json").read_text())
    assert memory["iteration"] == 11
    assert memory["losses"] == list(losses(plan, "main").values())  # those of before the resume too
