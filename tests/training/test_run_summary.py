"""The table of what a run is about to do, as text."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import yaml

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.plan import expand, parse_plan
from megatron_lrps.training.arguments import Planned
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.run_summary import run_summary
from tests.campaign.checkpoints import save
from tests.plan.plans import plan_dict


def run_of(folder: Path, path: str, **keys: Any) -> PathToTrain:
    """A path of two versions of 1000 iterations: main to 1400, v1 (400, 1000], v2 (1400, 2000]."""
    tree = expand(parse_plan(yaml.safe_dump(plan_dict(**keys)), base=folder))
    return PathToTrain.of_plan(Planned(campaign=Campaign(tree), path=tree.path(path)))


def args_of(**changed: Any) -> Namespace:
    return Namespace(
        **{
            "save_interval": 500,
            "lrps_allow": None,
            "global_batch_size": 8,
            "micro_batch_size": 2,
            "seq_length": 16,
            "lr": 3e-4,
            "min_lr": 3e-5,
            "lr_warmup_init": 0.0,
            "tensor_model_parallel_size": 2,
            "data_parallel_size": 4,
            "optimizer": "adam",
            "bf16": True,
            "use_distributed_optimizer": True,
            "fp8": None,
            "tokenizer_type": "NullTokenizer",
            "padded_vocab_size": 32768,
            **changed,
        }
    )


def test_an_adopted_run_is_named_with_what_it_has_read(tmp_path: Path) -> None:
    """Main adopts iteration 100; v1 reads an index that the run has read, v2 one that it has not."""
    versions = [{"name": name, "iters": 1000, "train": [[1.0, f"data/{name}"]]} for name in ("v1", "v2")]
    run = run_of(tmp_path, "main", main={"adopt": "stock", "iteration": 100}, versions=versions)
    save(tmp_path / "stock", 100)
    start = StartPoint(checkpoint=Checkpoint(tmp_path / "stock", 100), forked=True)
    saved = vars(args_of(data_path=["0.5", str(tmp_path / "data/v1"), "0.5", "/old/web"], train_data_path=None))
    text = run_summary(run, start, None, args_of(), saved)
    assert text.splitlines()[0] == f"main adopts {tmp_path}/stock/iter_0000100 and ends at iteration 1500."
    (read,) = [line.split(maxsplit=2) for line in text.splitlines() if "read before" in line]
    assert read[2] == "v1: v1, by the adopted run, of which no plan knows how much; it begins anew"
    assert "samples 800 to 12,000, of the windows v1, v2 (chained)" in text
    own = StartPoint(checkpoint=Checkpoint(run.own, 100), forked=False)
    save(run.own, 100)
    assert "read before" not in run_summary(run, own, None, args_of(), saved)


def test_the_table(tmp_path: Path) -> None:
    run = run_of(tmp_path, "v1", decay={"shape": "linear", "alpha": 0.6})
    start = StartPoint(checkpoint=Checkpoint(tmp_path, 400), forked=True)
    save(tmp_path, 400)
    assert "epochs" not in run_summary(run, start, None, args_of(), {})
    saved = vars(args_of(tensor_model_parallel_size=1, data_parallel_size=8, fp8="hybrid", fp8_recipe="delayed"))
    text = run_summary(run, start, None, args_of(), saved)
    lines = {line.split("  ")[1].strip(): line for line in text.splitlines()[1:]}
    assert text.splitlines()[0] == f"v1 forks off {tmp_path / 'iter_0000400'} and ends at iteration 1000."
    assert lines["learning rate"].endswith("0.0003 at 400, 0.0002995 at 401, ..., 3e-05 at 1000")
    assert lines["data"].endswith("samples 3,200 to 8,000, of the windows v1 (chained)")
    assert lines["batch"].endswith("8 samples x 16 tokens, micro-batch 2")
    assert lines["layout"].endswith("TP2 PP1 DP4  (the checkpoint: TP1 PP1 DP8)")
    assert "dropout" not in lines
    dropping = run_summary(run, start, None, args_of(hidden_dropout=0.1), saved)
    assert "  dropout        its random states begin anew, as TP or PP is another" in dropping.splitlines()
    assert "random states" not in run_summary(run, start, None, args_of(hidden_dropout=0.1), vars(args_of()))
    assert lines["optimizer"].endswith("adam, bf16 weights, distributed")
    assert lines["fp8"].endswith("off  (the checkpoint: hybrid, delayed)")
    assert "megatron-core 0.19" in lines["libraries"]
    assert "free; 2 saves take" in lines["disk"]


def test_the_table_says_how_often_data_are_read(tmp_path: Path) -> None:
    run = run_of(tmp_path, "v2")
    known: dict[str, Any] = {"tokens": 64_000}
    v1 = {"version": "v1", "iterations": 1000, "data": [[0.75, "a/web", known], [0.25, "a/code", known]]}
    v2 = {"version": "v2", "iterations": 1000, "data": [[1.0, "b/web", known]]}
    replay = {"share": 0.5, "samples": {"v1": 4000}}
    identity = Identity(windows=[v1, {**v2, "replay": replay}], tokenizer=None, order="chained")
    Checkpoint(tmp_path, 400).folder.mkdir()
    text = run_summary(run, StartPoint(checkpoint=Checkpoint(tmp_path, 400), forked=True), identity, args_of(), {})
    # (400, 1000] are 4,800 samples, 1.2 x 64,000 tokens; v2's 8,000 are 1 epoch of its own and 1 of v1's
    assert [line.split("  ")[-1].strip() for line in text.splitlines() if line.startswith("  epochs")] == [
        "v1: web 0.9, code 0.3",
        "v2: web 1, v1's web 0.75, v1's code 0.25",
    ]
