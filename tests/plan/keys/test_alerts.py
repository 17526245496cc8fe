"""The plan's alerts: safe by default, refused in plain words, and never a part of what has been trained."""

from pathlib import Path

import pytest

from megatron_lrps.campaign.accepted_plan import refuse_changed_past
from megatron_lrps.errors import PlanError
from megatron_lrps.plan import expand, parse_plan, plan_text

PLAN = """\
campaign: demo
save: run
sequence_length: 8
global_batch_size: 4
versions: [{name: v1, iters: 100, train: [[1.0, data/v1]]}]
"""


def test_without_a_word_every_rule_is_on_and_no_hook_is_run(tmp_path: Path) -> None:
    plan = parse_plan(PLAN, base=tmp_path)
    rules = plan.alerts
    assert (rules.window, rules.not_finite, rules.skipped) == (128, True, 25)
    assert (rules.loss_spike, rules.divergence, rules.grad_norm) == (8.0, 0.5, 10.0)
    assert (rules.cool_down, rules.hook_timeout, rules.hook) == (600.0, 30.0, ())


def test_null_switches_a_rule_off(tmp_path: Path) -> None:
    text = PLAN + "alerts: {loss_spike: null, divergence: null, grad_norm: null, skipped: null, not_finite: false}\n"
    rules = parse_plan(text, base=tmp_path).alerts
    assert (rules.loss_spike, rules.divergence, rules.grad_norm, rules.skipped) == (None, None, None, None)


def test_a_hooks_program_starts_at_the_plans_folder_and_survives_acceptance(tmp_path: Path) -> None:
    plan = parse_plan(PLAN + "alerts: {hook: [tools/page.sh, --to, ops/night]}\n", base=tmp_path)
    assert plan.alerts.hook == (str(tmp_path / "tools/page.sh"), "--to", "ops/night")
    assert parse_plan(plan_text(plan), base=tmp_path / "run").alerts.hook == plan.alerts.hook
    on_path = parse_plan(PLAN + "alerts: {hook: [mail, -s, alert]}\n", base=tmp_path)
    assert on_path.alerts.hook == ("mail", "-s", "alert")


@pytest.mark.parametrize(
    ("alerts", "said"),
    [
        ("{hook: page.sh --now}", "give a list"),  # a shell's line is none
        ("{hook: ['']}", "begins with no program"),
        ("{window: 4}", "greater than or equal to 8"),
        ("{grad_norm: 0.5}", "greater than 1"),
        ("{loss_spike: 0}", "greater than 0"),
        ("{hook_timeout: 0}", "greater than 0"),
        ("{spike: 3}", "unknown key"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(alerts: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"alerts\.") as refused:
        parse_plan(f"{PLAN}alerts: {alerts}\n", base=tmp_path)
    assert said in str(refused.value)


def test_a_running_campaigns_alerts_may_change(tmp_path: Path) -> None:
    before = expand(parse_plan(PLAN, base=tmp_path))
    after = expand(parse_plan(PLAN + "alerts: {window: 64, hook: [mail]}\n", base=tmp_path))
    refuse_changed_past(before, after, {"main": 40, "v1": 100})
