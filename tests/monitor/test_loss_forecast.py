"""Forecasts of campaigns whose logs a known law has made."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.annealing import Floats, Law, Rates
from megatron_lrps.monitor.loss_forecast import forecast
from megatron_lrps.plan import PlannedPath, Tree, expand
from megatron_lrps.plan.keys.branch import BranchSettings
from megatron_lrps.plan.load import plan_text
from tests.conftest import Lrps
from tests.monitor.conftest import LogJob, MakeTree, log_job, make_tree

__all__ = ["log_job", "make_tree"]  # fixtures

TRUE = Law(floor=2.0, scale=6.0, exponent=0.4, gain=0.003, momentum=0.98, residual=0.0)
NOISE = 0.03


def rates(tree: Tree, path: PlannedPath) -> Rates:
    batch, plan = tree.plan.global_batch_size, tree.plan
    shares = [
        path.schedule.lr(at * batch, max_lr=1.0, min_lr=plan.lr.min / plan.lr.max, init_lr=0.0)
        for at in range(path.end)
    ]
    return Rates(np.array(shares), plan.lr.warmup_iters)


def truth(tree: Tree, name: str) -> Floats:
    return TRUE.losses(rates(tree, tree.path(name)))


def train(tree: Tree, log: LogJob, names: Sequence[str], *, hard: float = 0.0, until: int | None = None) -> None:
    """Write what the law says; windows are harder and easier in turn, and a sample strays alike in every path."""
    campaign = CampaignFolder(tree.plan.folder)
    numbers = random.Random(5)
    strays = [numbers.gauss(0, NOISE) for _ in range(tree.windows[-1].end + 1)]
    for index, window in enumerate(tree.windows):
        for step in range(window.start + 1, window.end + 1):
            strays[step] += hard * (-1) ** index
    for name in names:
        path, losses = tree.path(name), truth(tree, name)
        last = min(path.end, until or path.end)
        values = [("lm loss", step, float(losses[step - 1]) + strays[step]) for step in range(path.fork + 1, last + 1)]
        log(campaign.tensorboard(name), values)


def campaign_of(tree: Tree) -> CampaignFolder:
    return CampaignFolder(tree.plan.folder)


def test_forecasts_are_the_laws_and_the_error_is_measured(make_tree: MakeTree, log_job: LogJob) -> None:
    tree = make_tree(4, 400)
    train(tree, log_job, ["main", "v1", "v2", "v3"])
    outlook = forecast(Campaign(tree))
    assert outlook.branches == ("v1", "v2", "v3")
    assert [each.path for each in outlook.checked] == ["v1", "v2", "v3"]
    assert outlook.error is not None
    assert outlook.error < 0.02
    assert outlook.gain_error is not None
    assert outlook.gain_error < 0.02
    assert [(each.version, each.alpha) for each in outlook.forecasts] == [("v4", a) for a in (0.2, 0.4, 0.6, 0.8, 1.0)]
    planned = next(each for each in outlook.forecasts if each.planned)
    assert (planned.alpha, planned.fork, planned.iterations) == (0.6, 1360, 240)
    assert planned.loss == pytest.approx(truth(tree, "v4")[-20:].mean(), abs=0.02)
    v1 = outlook.checked[0]
    assert v1.observed == pytest.approx(truth(tree, "v1")[-20:].mean(), abs=3 * NOISE / 20**0.5)
    main, own = truth(tree, "main")[380:400], truth(tree, "v1")[-20:]
    assert v1.gain == pytest.approx(main.mean() - own.mean(), abs=1e-4)  # the same samples: no noise is left


def test_windows_of_other_difficulty_move_the_level_and_not_the_gain(make_tree: MakeTree, log_job: LogJob) -> None:
    tree = make_tree(4, 400)
    train(tree, log_job, ["main", "v1", "v2", "v3"], hard=0.1)
    outlook = forecast(Campaign(tree))
    assert outlook.error is not None
    assert outlook.gain_error is not None
    assert 0.05 < outlook.error < 0.2  # as far as the windows are from each other
    assert outlook.gain_error < 0.04


def test_without_a_branch_the_gain_and_the_error_are_unknown(make_tree: MakeTree, log_job: LogJob) -> None:
    tree = make_tree(4, 400)
    train(tree, log_job, ["main"], until=700)
    outlook = forecast(Campaign(tree), alphas=[0.6])
    assert (outlook.law.gain, outlook.error, outlook.checked, outlook.reached) == (None, None, (), 700)
    assert outlook.notes[0].startswith("No branch has logged enough to fit: a constant learning rate does not tell")
    assert outlook.notes[1] == "The error is unknown: no branch is finished yet."
    for each in outlook.forecasts:
        assert each.loss is not None
        assert each.loss > truth(tree, each.version)[-20:].mean()  # the upper bound that it is said to be


def test_one_finished_branch_gives_the_gain_and_no_error(make_tree: MakeTree, log_job: LogJob) -> None:
    tree = make_tree(4, 400)
    train(tree, log_job, ["main", "v1"], until=700)
    outlook = forecast(Campaign(tree))
    assert outlook.law.gain is not None
    assert outlook.error is None
    assert outlook.notes[0] == "The error is unknown: one branch is finished, and the fit needs it for C."


def test_branches_with_data_of_their_own_are_not_fitted(make_tree: MakeTree, log_job: LogJob) -> None:
    tree = make_tree(4, 400)
    train(tree, log_job, ["main", "v1", "v2"], until=1100)
    mixed = tree.plan.model_copy(update={"branch": BranchSettings(data="mixed")})
    outlook = forecast(Campaign(expand(mixed)))
    assert (outlook.branches, outlook.law.gain) == ((), None)
    assert outlook.notes[0] == (
        "Not fitted, because they read data of their own (branch.data): v1, v2, v3, v4. Forecasts are for branches "
        "that read on in their window, as main does."
    )


def test_shapes_alphas_and_branches_that_cannot_be(make_tree: MakeTree, log_job: LogJob) -> None:
    tree = make_tree(2, 400)
    train(tree, log_job, ["main"])
    outlook = forecast(Campaign(tree), alphas=[0.5, 1.0, 0.001], shapes=["1-sqrt", "multi-step"])
    found = {(each.version, each.shape, each.alpha): each for each in outlook.forecasts}
    assert len(found) == 12
    assert found["v1", "1-sqrt", 1.0].why_not == "would fork at 0, and the warm-up ends at 20"
    assert found["v2", "1-sqrt", 0.001].why_not == "less than one iteration"
    assert found["v2", "1-sqrt", 0.5].loss != found["v2", "multi-step", 0.5].loss
    assert not any(each.planned for each in outlook.forecasts)


def test_too_little_log_and_no_main_are_refused(make_tree: MakeTree, log_job: LogJob, tmp_path: Path) -> None:
    tree = make_tree(4, 400)
    with pytest.raises(RefusedError, match="Main has logged 0 iterations after iteration 20"):
        forecast(Campaign(tree))
    train(tree, log_job, ["main"], until=80)
    with pytest.raises(RefusedError, match=r"54 iterations after iteration 26 .*and a fit needs 100"):
        forecast(Campaign(tree))
    with pytest.raises(RefusedError, match="has no main path: its paths are ptfs-v1, ptfs-v2"):
        forecast(Campaign(make_tree(2, 400, paradigm="ptfs")))
    rising = {"rampup-batch-size": [2, tree.plan.global_batch_size - 2, 8]}
    plan = tree.plan.model_copy(update={"megatron": {**tree.plan.megatron, **rising}})
    with pytest.raises(RefusedError, match=r"from iteration 5 on\), and the law counts iterations of one batch"):
        forecast(Campaign(expand(plan)))


def test_the_command_says_all_of_it(make_tree: MakeTree, log_job: LogJob, lrps: Lrps, tmp_path: Path) -> None:
    tree = make_tree(4, 400)
    train(tree, log_job, ["main", "v1", "v2", "v3"])
    plan = tmp_path / "plan.yaml"
    plan.write_text(plan_text(tree.plan))
    code, stdout, stderr = lrps("forecast", plan, "--alpha", "0.6", "--alpha", "0.2")
    assert (code, stderr) == (0, "")
    assert "main is logged to iteration 1,360" in stdout
    assert "v4 (planned)  cosine    0.6  1,360         240" in stdout
    assert "root mean square: 0.0" in stdout
    facts = json.loads(lrps("forecast", plan, "--json").stdout)
    assert list(facts) == [
        *("campaign", "law", "since", "reached", "branches", "checked", "forecasts", "notes", "error", "gain_error")
    ]
    assert facts["checked"][0]["error"] == facts["checked"][0]["predicted"] - facts["checked"][0]["observed"]
    for flags, said in (
        (("--alpha", "1.5"), "--alpha 1.5 is not a share"),
        (("--shape", "x"), "--shape x is not a decay"),
    ):
        code, _, stderr = lrps("forecast", plan, *flags)
        assert code == 78
        assert said in stderr
