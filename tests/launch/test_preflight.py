"""What `lrps run` would refuse of a campaign before any rank starts, as `lrps plan` says it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from megatron_lrps.campaign.accepted_plan import accept
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.errors import PlanError, RefusedError
from megatron_lrps.launch import preflight
from megatron_lrps.launch.preflight import refusals, refuse_unfit
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.plan.cost import model_size
from megatron_lrps.plan.vocabulary import Vocabulary
from tests.campaign.checkpoints import save
from tests.plan.plans import plan_dict, versions
from tests.training.harness import write_tokens

DATA = [[1.0, "web"]]


def campaign_in(folder: Path, **keys: Any) -> Campaign:
    return Campaign(expand(parse_plan(yaml.safe_dump(plan_dict(**keys)), base=folder)))


def said(campaign: Campaign, ranks: int = 1) -> list[str]:
    return [str(refusal) for refusal in refusals(campaign, ranks, model_size(campaign.plan, Vocabulary(32768)))]


def test_a_plan_that_nothing_stands_against(tmp_path: Path) -> None:
    # Neither its data nor its tokenizer are there: people plan before they prepare.
    campaign = campaign_in(tmp_path, versions=versions(1000, train=DATA), tokenizer={"model": "no.model"})
    assert said(campaign) == []


def test_what_has_been_trained_may_not_change_and_nothing_is_written(tmp_path: Path) -> None:
    before = campaign_in(tmp_path)
    accept(before)
    accepted = before.folder.plan
    text = accepted.read_text()
    save(before.folder.path("main").checkpoints, 400)
    changed = campaign_in(tmp_path, lr={"max": 2.0e-4, "min": 3.0e-5})
    (found,) = said(changed)
    assert "lr.max: 0.0003 has been trained, the plan now says 0.0002" in found
    assert accepted.read_text() == text
    assert said(before) == []
    # A plan that only grows is taken, and is not accepted by looking at it.
    assert said(campaign_in(tmp_path, versions=versions(1000, 1000, 1000))) == []
    assert accepted.read_text() == text


def test_a_damaged_accepted_plan_is_said(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)
    accept(campaign)
    campaign.folder.plan.write_text("campaign: [")
    assert "is damaged" in said(campaign)[0]


def test_a_strategy_of_saves_that_this_machines_megatron_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"async-save": True, "use-persistent-ckpt-worker": True}
    container = {"slurm": {"container": "nemo.sqsh"}}
    found: dict[str, str] = {"megatron-core": "0.19.2"}
    monkeypatch.setattr(preflight, "installed", found.get)
    assert "needs nvidia-resiliency-ext 0.6 or newer" in said(campaign_in(tmp_path, megatron=flags))[0]
    assert said(campaign_in(tmp_path, megatron={**flags, "async-strategy": "mcore"})) == []
    assert said(campaign_in(tmp_path, megatron=flags, launch=container), 8) == []  # it may have what this one lacks
    found.clear()  # a login node
    assert said(campaign_in(tmp_path, megatron=flags)) == []


def test_saves_that_this_machines_megatron_damages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("use-distributed-optimizer", "dist-ckpt-optim-fully-reshardable", "overlap-grad-reduce")
    campaign = campaign_in(tmp_path, megatron=dict.fromkeys(names, True))
    monkeypatch.setattr(preflight, "installed", {"megatron-core": "0.19.2"}.get)
    assert "--overlap-grad-reduce cuts the gradients into buckets" in said(campaign)[0]
    monkeypatch.setattr(preflight, "installed", {"megatron-core": "0.20.0"}.get)
    assert said(campaign) == []


def test_a_layout_that_no_megatron_trains(tmp_path: Path) -> None:
    model = {"num-layers": 4, "hidden-size": 64, "num-attention-heads": 5}
    assert (
        "hidden-size: 64 is not a multiple of num-attention-heads 5" in said(campaign_in(tmp_path, megatron=model))[0]
    )
    campaign = campaign_in(tmp_path, megatron={"tensor-model-parallel-size": 2})
    assert said(campaign, 2) == []
    assert "there are 3 ranks" in said(campaign, 3)[0]


def test_a_fork_point_that_is_lost(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path)  # v1 forks at 400, v2 at 1400, where main ends
    save(campaign.folder.path("main").checkpoints, 700)
    assert "path v1: The fork point at iteration 400 is not in" in said(campaign)[0]


def test_a_run_that_is_not_there_to_be_adopted(tmp_path: Path) -> None:
    campaign = campaign_in(tmp_path, main={"adopt": "stock", "iteration": 100})
    assert said(campaign) == [
        f"main.adopt: {tmp_path}/stock is no folder. Fix: name the --save folder of the run, or mount it."
    ]
    save(tmp_path / "stock", 50)
    assert "main.iteration: " in said(campaign)[0]
    save(tmp_path / "stock", 100)
    assert said(campaign) == []
    (tmp_path / "stock" / "iter_0000100").rename(tmp_path / "gone")
    save(campaign.folder.path("main").checkpoints, 200)
    assert said(campaign) == []  # main goes on from its own


def test_data_that_are_there_are_looked_at(tmp_path: Path) -> None:
    write_tokens(tmp_path / "web", [[1] * 1600])
    (found,) = said(campaign_in(tmp_path, versions=versions(1000, train=DATA)))
    assert "versions.v1: reads" in found  # main and v1 would both refuse it, in the same words
    assert "to 80 epochs in all" in found  # 1000 iterations of 8 x 16 tokens, out of 1,600
    # 33 tokens are two samples of 16.
    write_tokens(tmp_path / "few", [[1] * 33])
    listed = versions(10, train=DATA, valid={"web": "few"})
    campaign = campaign_in(tmp_path, versions=listed)
    assert said(campaign, 2) == []
    assert "Validation set v1-web has 33 tokens" in said(campaign, 4)[0]
    tp2 = campaign_in(tmp_path, versions=listed, megatron={"tensor-model-parallel-size": 2})
    assert said(tp2, 4) == []  # two data-parallel ranks


def test_all_that_is_wrong_is_said(tmp_path: Path) -> None:
    write_tokens(tmp_path / "web", [[1] * 1600])
    campaign = campaign_in(tmp_path, versions=versions(1000, train=DATA), promote={"gate": "no-gate.txt"})
    found = said(campaign, 3)  # which does not divide 8 samples
    assert len(found) == 3
    for text, part in zip(found, ("global_batch_size: 8", "versions.v1: reads", "promote.gate: "), strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"promote": {"gate": "gate.txt"}}, "promote.gate"),
        ({"evaluate": {"tasks": ["arc"], "task_folder": "tasks"}}, "evaluate.task_folder"),
        ({"launch": {"slurm": {"nodes": 1, "gpus_per_node": 1, "site": "here/site.sh"}}}, "launch.slurm.site"),
    ],
)
def test_files_of_the_plans_own_must_be_there(tmp_path: Path, keys: dict[str, Any], key: str) -> None:
    (found,) = said(campaign_in(tmp_path, **keys))
    assert found.startswith(f"{key}: {tmp_path}/")
    assert "does not exist" in found


def test_an_absolute_path_of_another_machine_is_seen_there(tmp_path: Path) -> None:
    assert said(campaign_in(tmp_path, promote={"gate": "/lustre/of/the/cluster/gate.txt"})) == []
    assert len(said(campaign_in(tmp_path, promote={"gate": f"{tmp_path}/gate.txt"}))) == 1


def test_a_gate_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "gate.txt").write_text("loss is low\n")
    assert len(said(campaign_in(tmp_path, promote={"gate": "gate.txt"}))) == 1


def test_a_disk_that_is_here_and_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 12 h^2 in each of 2 layers, norms, and 32,768 tokens: some 30 MB a checkpoint
    campaign = campaign_in(tmp_path, megatron={"num-layers": 2, "hidden-size": 64})
    monkeypatch.setattr(preflight, "free_bytes", lambda folder: 10 * 2**20)
    assert said(campaign) == []  # the campaign's disk is another machine's, as far as is known
    campaign.folder.root.mkdir(parents=True)
    (found,) = said(campaign)
    assert found.startswith(
        f"10.0 MiB are free at {campaign.folder.root}, and 3 saves will take "
    )  # main: 400, 1000, 1400
    monkeypatch.setattr(preflight, "free_bytes", lambda folder: 2**40)
    assert said(campaign) == []


def test_a_run_needs_its_data_tokenizer_and_weights(tmp_path: Path) -> None:
    def refusal(**keys: Any) -> str:
        campaign = campaign_in(tmp_path, versions=versions(100, train=DATA), **keys)
        with pytest.raises(RefusedError) as found:
            refuse_unfit(campaign, campaign.paths, 1)
        return str(found.value)

    assert "versions.v1.train" in refusal()
    write_tokens(tmp_path / "web", [[1] * 40_000])
    assert "tokenizer.model: " in refusal(tokenizer={"type": "sentencepiece", "model": "no.model"})
    assert "megatron.pretrained-checkpoint: " in refusal(megatron={"pretrained-checkpoint": "nowhere"})
    assert "not a multiple of micro-batch-size" in refusal(megatron={"micro-batch-size": 3})
    campaign = campaign_in(tmp_path, versions=versions(100, train=DATA), tokenizer={"type": "null", "vocab_size": 9})
    refuse_unfit(campaign, campaign.paths, 1)


def test_a_refusal_is_a_plans(tmp_path: Path) -> None:
    (found,) = refusals(campaign_in(tmp_path, megatron={"micro-batch-size": 3}), 1, None)
    assert isinstance(found, PlanError)
    assert found.fix
