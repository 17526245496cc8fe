"""One short campaign on the Megatron that this process imports: fork, resume, export, and branches against stock's.

``test_releases.py`` runs this file once for each release, in a process of its own: none of it may be a module of the
tests that run in the same process as another release.
"""

import json
import shutil
from pathlib import Path

import pytest
from conftest import Lrps
from convert.models import VOCAB, write_llama_campaign
from training.campaigns import ENTRY, losses, rates, train_path
from training.harness import Trained, read_scalars, train

from megatron_lrps.monitor.scalars import read_scalars as read_values
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.training.megatron.installed import installed_release

BATCH = 4
FORK, END = 4, 10


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plan of a small Llama's campaign; main is trained, and v1, which was stopped half-way and resumed."""
    plan = write_llama_campaign(tmp_path_factory.mktemp("campaign"))
    for path, flags, code in (("main", [], 0), ("v1", ["--exit-interval", "6"], 75), ("v1", [], 0)):
        if path == "v1" and flags:
            shutil.copytree(plan.parent, plan.parent.with_name("uninterrupted"))
        ended = train_path(plan, path, *flags)
        assert ended.codes == [code], ended.log[-3000:]
    return plan


def test_fork(campaign: Path) -> None:
    main, branch = losses(campaign, "main"), losses(campaign, "v1")
    assert sorted(branch) == [5, 6, 7, 8]
    assert branch[5] == main[5]  # same weights, moments, dropout masks and sample
    assert branch[7] != main[7]
    schedule = expand(load_plan(campaign)).path("v1").schedule
    for iteration, rate in rates(campaign, "v1").items():
        assert rate == pytest.approx(schedule.lr(iteration * BATCH, max_lr=3e-3, min_lr=3e-4), rel=1e-7)
    validated = read_values(campaign.parent / "run" / "tensorboard" / "v1", "lm loss validation-v1-a")
    assert [iteration for iteration, _ in validated][-1:] == [8]


def test_resume(campaign: Path) -> None:
    plan = campaign.parent.with_name("uninterrupted") / "plan.yaml"
    ended = train_path(plan, "v1")
    assert ended.codes == [0], ended.log[-3000:]
    assert losses(plan, "v1") == losses(campaign, "v1")


def test_export(campaign: Path, lrps: Lrps) -> None:
    code, out, err = lrps("export", campaign, "v1", "--check", "--json")
    assert code == 0, err
    check = json.loads(out)["check"]
    assert check["difference"] < 1e-4
    assert check["megatron_loss"] == pytest.approx(check["export_loss"], abs=1e-6)
    config = json.loads((campaign.parent / "run" / "exports" / "v1" / "config.json").read_text())
    assert config["vocab_size"] == VOCAB


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """Stock's folder with its main path in ``main`` and the branch of its own flags in ``branch``, and the branch."""
    folder = tmp_path_factory.mktemp("stock")
    main, branch = folder / "main", folder / "branch"
    train(main, f"--mock-data --train-iters {FORK} --save {main} --save-interval {FORK}")
    flags = (
        f"--mock-data --train-iters {END} --lr-decay-style WSD --lr-wsd-decay-style cosine --lr-decay-iters {END}"
        f" --lr-wsd-decay-iters {END - FORK} --override-opt_param-scheduler --load {main} --ckpt-step {FORK}"
        f" --save {branch} --save-interval 100"
    )
    return folder, train(branch, flags)


@pytest.mark.skipif(installed_release().hybrid is None, reason="the plugin trains hybrid models from 0.17 on")
def test_hybrid(stock: tuple[Path, Trained]) -> None:
    """Attention and MLP layers in turns are the GPT, digit for digit; Mamba layers train beside them."""
    folder, _ = stock
    run = train(folder / "hybrid", f"--mock-data --train-iters {FORK} --hybrid-layer-pattern *-*-")
    assert list(run.losses.items()) == read_scalars(folder / "main" / "events")["lm loss"]
    sizes = "--mamba-num-heads 4 --mamba-head-dim 16 --mamba-num-groups 2 --mamba-state-dim 16"
    run = train(folder / "mamba", f"--mock-data --train-iters {FORK} --hybrid-layer-pattern M*M- {sizes}")
    assert list(run.losses) == list(range(1, FORK + 1))
    assert run.losses[FORK] < run.losses[1]


@pytest.fixture(scope="module")
def unplanned(stock: tuple[Path, Trained]) -> tuple[Path, Trained]:
    """The plugin's branch of the same checkpoint, by flags."""
    folder = stock[0] / "ours"
    flags = (
        f"--mock-data --lrps-cpu --lrps-fork-iter {FORK} --lrps-decay-iters {END - FORK} --lrps-decay-shape cosine"
        f" --lrps-parent {stock[0] / 'main'} --save {folder} --save-interval 100"
    )
    return folder, train(folder, flags, code=ENTRY)


def test_unplanned_branch(unplanned: tuple[Path, Trained]) -> None:
    assert list(unplanned[1].losses) == list(range(FORK + 1, END + 1))


def test_oracle(stock: tuple[Path, Trained], unplanned: tuple[Path, Trained]) -> None:
    def logged(folder: Path) -> list[tuple[int, float]]:
        return read_scalars(folder / "events")["learning-rate"]

    assert unplanned[1].losses == stock[1].losses
    assert logged(unplanned[0]) == logged(stock[0] / "branch")
    assert logged(unplanned[0])[-1][1] == pytest.approx(1e-4)
