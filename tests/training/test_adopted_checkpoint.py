"""A stock run as a campaign's main path: the same losses and rates as if the campaign had trained it itself."""

import random
import shutil
from pathlib import Path

import pytest

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.record import events, read_record
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.layout_check import check_layout
from megatron_lrps.plan import expand, load_plan
from megatron_lrps.plan.flags import argument_line, path_flags
from megatron_lrps.training.adopted_checkpoint import refuse_unfit
from megatron_lrps.training.arguments import Planned
from megatron_lrps.training.path_to_train import PathToTrain
from tests.training.campaigns import losses, rates, train_path, write_campaign
from tests.training.harness import GPT, train, write_tokens

ADOPTED = 4
"""Iterations of the stock run. Behind them main forks v1 off at 8 and ends at 15; v1 trains (8, 12]."""
ITSELF = "versions:\n  - {name: v0, iters: 4, train: [[1.0, data/v0]]}\n"
GOES_ON = f"main: {{adopt: ../stock, iteration: {ADOPTED}}}\nversions:\n"


def campaign(folder: Path, versions: str) -> Path:
    plan = write_campaign(folder)
    numbers = random.Random(8)
    write_tokens(folder / "data" / "v0", [[numbers.randrange(120) for _ in range(50)] for _ in range(40)])
    plan.write_text(plan.read_text().replace("versions:\n", versions))
    return plan


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(each): (each.stat().st_size, each.stat().st_mtime_ns) for each in folder.rglob("*")}


@pytest.mark.training
def test_main_goes_on_from_a_stock_run(tmp_path: Path) -> None:
    whole, plan = campaign(tmp_path / "whole", ITSELF), campaign(tmp_path / "grown", GOES_ON)
    for path in ("main", "v1"):
        ended = train_path(whole, path)
        assert ended.codes == [0], ended.log

    # The flags of the first campaign's main, without the plugin and on the first window's data.
    tree = expand(load_plan(whole))
    flags = {
        key: value
        for key, value in path_flags(tree, tree.path("main")).items()
        if not key.startswith(
            ("save", "train-iters", "tensorboard-dir", "full-validation", "multiple-validation", "eval", "data-cache")
        )
        and not key.endswith("-data-path")
    }
    stock = train(
        tmp_path / "stock",
        f"--train-data-path {whole.parent / 'data' / 'v0'} --train-iters {ADOPTED} --eval-iters 0 --eval-interval 100"
        f" --save {tmp_path / 'stock'} --save-interval {ADOPTED} --data-cache-path {tmp_path / 'cache'}",
        base=" ".join(argument_line(flags)),
        code=GPT,
    )
    assert stock.losses == {i: loss for i, loss in losses(whole, "main").items() if i <= ADOPTED}
    before = files_of(tmp_path / "stock")

    for until in (["--lrps-until", "8"], []):
        ended = train_path(plan, "main", *until)
        assert ended.codes == [0], ended.log
        assert (f"main adopts {tmp_path / 'stock' / 'iter_0000004'}" in ended.log) == bool(until)
    ended = train_path(plan, "v1")
    assert ended.codes == [0], ended.log
    for path, start, end in (("main", ADOPTED, 15), ("v1", 8, 12)):
        assert list(losses(plan, path)) == list(range(start + 1, end + 1))
        for read in (losses, rates):
            assert read(plan, path) == {i: value for i, value in read(whole, path).items() if i > start}
    assert rates(plan, "v1")[12] == pytest.approx(3e-4)
    assert files_of(tmp_path / "stock") == before

    folder = CampaignFolder(plan.parent / "run").path("main")
    assert [
        (event["iteration"], event["forked"], event.get("adopted"), Path(event["checkpoint"]).parent)
        for event in events(folder)
        if event["event"] == "started"
    ] == [(4, True, True, tmp_path / "stock"), (8, False, None, folder.checkpoints)]
    record = read_record(folder) or {}
    assert (record["parent"], record["fork"], record["adopted"]["iteration"]) == (None, 4, 4)
    assert (record["data"]["windows"][0]["version"], record["data"]["windows"][0]["iterations"]) == ("adopted", 4)
    assert "adopted" not in (read_record(CampaignFolder(plan.parent / "run").path("v1")) or {})

    refuse_what_is_another_run(tmp_path, plan, folder)
    refuse_before_a_job_is_queued(plan)


def refuse_what_is_another_run(tmp_path: Path, plan: Path, main: PathFolder) -> None:
    """Of the same stock run, as it takes a training to have one."""
    text = plan.read_text()
    shutil.rmtree(main.checkpoints)
    shard = next((tmp_path / "stock" / "iter_0000004").glob("*.distcp"))
    held = shard.read_bytes()
    shard.write_bytes(held[: len(held) // 2] + bytes(8) + held[len(held) // 2 + 8 :])
    ended = train_path(plan, "main")
    assert ended.codes == [78]
    assert "is not the checkpoint that main was adopted from: its content is another" in ended.log
    shard.write_bytes(held)
    for number, (old, new, *words) in enumerate(
        (
            ("max: 3.0e-3", "max: 2.0e-3", "--lr: 0.002 in this run, 0.003 in", "stock/iter_0000004"),
            (
                "global_batch_size: 4",
                "global_batch_size: 8",
                "was trained with a batch of 4, and the plan's is 8: positions are counted in it",
            ),
            ("hidden-size: 64", "hidden-size: 32", "--hidden-size: 32 in this run, 64 in"),
        )
    ):
        plan.write_text(text.replace("save: run", f"save: other{number}").replace(old, new))
        ended = train_path(plan, "main")
        assert ended.codes == [78], ended.log
        assert [word for word in words if word not in ended.log] == [], ended.log


def refuse_before_a_job_is_queued(plan: Path) -> None:
    """`lrps plan --check-layout`, and so `lrps submit`, compares the run's arguments without a rank."""
    text = plan.read_text().replace("hidden-size: 32", "hidden-size: 64").replace("save: other2", "save: fresh")
    plan.write_text(text)
    assert list(check_layout(Campaign.open(plan))["paths"]) == ["main", "v1", "v2"]
    plan.write_text(text.replace("hidden-dropout: 0.1", "hidden-dropout: 0.2"))
    with pytest.raises(RefusedError, match=r"path main on 1 ranks .*--hidden-dropout: 0.2 in this run, 0.1 in .*stock"):
        check_layout(Campaign.open(plan))


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"no_save_optim": True}, ("was saved with --no-save-optim", "without its optimizer is no fork point")),
        ({"no_save_rng": True}, ("was saved with --no-save-rng", "does not resume exactly")),
        ({"tokenizer_model": "other.txt"}, ("tokenizer.model: its content is", "other.txt", "would mean other text")),
    ],
)
def test_what_a_fork_point_would_not_lack(saved: dict[str, object], words: tuple[str, ...], tmp_path: Path) -> None:
    plan = campaign(tmp_path, GOES_ON)
    (tmp_path / "other.txt").write_text("a\nb\n")
    tree = expand(load_plan(plan))
    run = PathToTrain.of_plan(Planned(campaign=Campaign(tree), path=tree.path("main")))
    start = StartPoint(checkpoint=Checkpoint(tmp_path / "stock", ADOPTED), forked=True)
    same = tokenizer_fingerprint(tmp_path / "data" / "vocabulary.txt")
    identity = Identity(windows=[], tokenizer=same, order="chained")
    if "tokenizer_model" in saved:
        saved = {"tokenizer_model": str(tmp_path / str(saved["tokenizer_model"]))}
    with pytest.raises(RefusedError) as refusal:
        refuse_unfit(run, saved, identity, start)
    assert [word for word in words if word not in str(refusal.value)] == []
    # As it was saved; what lies nowhere any more cannot be compared.
    for model in (str(tmp_path / "data" / "vocabulary.txt"), str(tmp_path / "gone.txt"), None):
        refuse_unfit(run, {"no_save_optim": False, "tokenizer_model": model}, identity, start)
