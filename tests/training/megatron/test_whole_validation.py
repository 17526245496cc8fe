"""Validation on layouts whose ranks do not all read data: the same losses as on one rank, set by set."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.scalars import read_scalars
from megatron_lrps.training.megatron.datasets import Filled, filled
from megatron_lrps.training.megatron.whole_validation import by_set, prepare_validation
from tests.training.campaigns import losses, train_path, write_campaign
from tests.training.harness import write_tokens

SETS = ("v1-a", "v1-b")


def write_deep_campaign(folder: Path, *cuts: str, valid: bool = True) -> Path:
    """Twelve layers, two validation sets of odd lengths, an evaluation every other iteration; cuts train (4, 8].

    The optimizer is saved by parameter, so that a branch may have another layout than main.
    """
    folder.mkdir()
    plan = write_campaign(folder)
    write_tokens(folder / "data" / "valid", [list(range(90))] * 2)  # 5 samples of 32
    write_tokens(folder / "data" / "other", [list(range(80, 0, -1))] * 3)  # 7
    text = plan.read_text()
    for old, new in {
        "valid: {a: data/valid}": "valid: {a: data/valid, b: data/other}" if valid else "valid: {}",
        "num-layers: 2, hidden-size: 64": "num-layers: 12, hidden-size: 32",
        "global_batch_size: 4": "global_batch_size: 6",
        "micro-batch-size: 2": "micro-batch-size: 1",
        "eval-interval: 100": "eval-interval: 2",
        "hidden-dropout: 0.1": "hidden-dropout: 0.0",
        "use-distributed-optimizer: true, ": "",
    }.items():
        assert old in text
        text = text.replace(old, new)
    lines = [f"  - {{name: {cut}, fork: 4, iters: 4}}" for cut in cuts]
    plan.write_text(text + "\n".join(["cuts:", *lines, ""] if lines else []))
    return plan


def validations(plan: Path, path: str) -> dict[str, dict[int, float]]:
    """Set -> iteration -> validation loss."""
    folder = plan.parent / "run" / "tensorboard" / path
    return {name: dict(read_scalars(folder, f"lm loss validation-{name}")) for name in SETS}


def flags(**sizes: int) -> list[str]:
    return [text for name, size in sizes.items() for text in (f"--{name.replace('_', '-')}", str(size))]


@pytest.mark.training
def test_every_layout_validates_as_one_rank_does(tmp_path: Path) -> None:
    """Main under three stages, of which the middle one reads no data; then one branch by layout, all off one fork."""
    plan = write_deep_campaign(tmp_path / "c", "one", "dp2", "pp3", "pp4", "vpp")
    three = flags(pipeline_model_parallel_size=3)
    assert train_path(plan, "main", *three, ranks=3).codes == [0, 0, 0]
    assert [sorted(found) for found in validations(plan, "main").values()] == [[2, 4, 6, 8, 10, 11]] * 2

    assert train_path(plan, "one").codes == [0]
    assert train_path(plan, "dp2", ranks=2).codes == [0, 0]
    assert train_path(plan, "pp3", *three, "--lrps-until", "5", ranks=3).codes == [0, 0, 0]
    assert train_path(plan, "pp3", *three, ranks=3).codes == [0, 0, 0]
    assert train_path(plan, "pp4", *flags(pipeline_model_parallel_size=4), ranks=4).codes == [0] * 4
    virtual = flags(pipeline_model_parallel_size=2, num_layers_per_virtual_pipeline_stage=2)
    assert train_path(plan, "vpp", *virtual, ranks=2).codes == [0, 0]

    one = validations(plan, "one")
    assert [sorted(found) for found in one.values()] == [[6, 8]] * 2
    # The sets differ, and training moves their losses, by far more than layouts may differ.
    assert len({round(value, 3) for found in one.values() for value in found.values()}) == 4
    for layout in ("dp2", "pp3", "pp4", "vpp"):
        for name, found in validations(plan, layout).items():
            assert found == pytest.approx(one[name], rel=5e-5), (layout, name)
        assert losses(plan, layout) == pytest.approx(losses(plan, "one"), rel=5e-5)


@pytest.mark.training
def test_three_stages_train_without_validation(tmp_path: Path) -> None:
    plan = write_deep_campaign(tmp_path / "c", valid=False)
    ended = train_path(plan, "main", *flags(pipeline_model_parallel_size=3), ranks=3)
    assert ended.codes == [0, 0, 0]
    assert sorted(losses(plan, "main")) == list(range(1, 12))
    assert "validation loss" not in ended.log


def test_a_set_is_filled_up_with_samples_of_which_no_token_counts() -> None:
    samples = [{"tokens": torch.tensor([n, n]), "loss_mask": torch.ones(2)} for n in range(5)]
    whole = Filled(samples, 4)
    assert len(whole) == 8
    assert [int(whole[index]["tokens"][0]) for index in range(8)] == [0, 1, 2, 3, 4, 0, 0, 0]
    assert [float(whole[index]["loss_mask"].sum()) for index in range(8)] == [2.0] * 5 + [0.0] * 3
    assert samples[0]["loss_mask"].sum() == 2.0
    assert len(Filled(samples, 5)) == 5


def test_only_whole_sets_are_filled_up() -> None:
    args = Namespace(full_validation=True, eval_global_batch_size=2)
    assert [each and len(each) for each in filled([[1], None, [1, 2, 3]], args)] == [2, None, 4]
    assert filled(None, args) is None
    assert filled([[1]], Namespace(full_validation=False)) == [[1]]


def test_by_virtual_stage_the_sets_become_by_set_the_stages() -> None:
    def ask(iterators: Any, **args: Any) -> Any:
        return by_set(Namespace(**args), iterators)

    stages = [["a0", "b0", "c0"], ["a1", "b1", "c1"]]
    virtual = {"virtual_pipeline_model_parallel_size": 2, "multiple_validation_sets": True}
    assert ask(stages, **virtual) == [["a0", "a1"], ["b0", "b1"], ["c0", "c1"]]
    assert ask(stages, **{**virtual, "virtual_pipeline_model_parallel_size": None}) == stages
    assert ask(["test0", "test1"], **{**virtual, "multiple_validation_sets": False}) == ["test0", "test1"]
    assert ask(None, **virtual) is None


def prepared(**given: Any) -> Namespace:
    """Megatron's arguments for 16 ranks."""
    none = (
        "num_layers_per_virtual_pipeline_stage num_virtual_stages_per_pipeline_rank pipeline_model_parallel_layout "
        "microbatch_group_size_per_vp_stage eval_micro_batch_size eval_global_batch_size"
    )
    sizes = dict.fromkeys(
        ("tensor_model_parallel_size", "pipeline_model_parallel_size", "context_parallel_size"), 1
    )  # fmt: skip
    whole = {"full_validation": True, "multiple_validation_sets": True, "world_size": 16}
    args = Namespace(**{**dict.fromkeys(none.split()), **sizes, **whole, **given})
    prepare_validation(args)
    return args


def test_an_evaluation_has_a_sample_for_each_stage_of_each_replica() -> None:
    assert prepared().eval_global_batch_size == 16
    assert prepared(tensor_model_parallel_size=2, pipeline_model_parallel_size=4).eval_global_batch_size == 2 * 4
    virtual = {"pipeline_model_parallel_size": 4, "num_virtual_stages_per_pipeline_rank": 2}
    assert prepared(**virtual).eval_global_batch_size == 4 * 4
    assert prepared(**virtual, microbatch_group_size_per_vp_stage=5).eval_global_batch_size == 4 * 5
    assert prepared(multiple_validation_sets=False, pipeline_model_parallel_size=2).eval_global_batch_size == 8
    assert prepared(eval_global_batch_size=32).eval_global_batch_size == 32
    assert {prepared().eval_micro_batch_size, prepared(eval_micro_batch_size=1).eval_micro_batch_size} == {1}
    assert prepared(full_validation=False).eval_global_batch_size is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"eval_micro_batch_size": 2}, "--eval-micro-batch-size 2 is given with --full-validation"),
        ({"multiple_validation_sets": False, "pipeline_model_parallel_size": 4}, "without --multiple-validation-sets"),
        ({"multiple_validation_sets": False, "tensor_model_parallel_size": 2}, "without --multiple-validation-sets"),
        (
            {
                "pipeline_model_parallel_size": 4,
                "num_virtual_stages_per_pipeline_rank": 2,
                "eval_global_batch_size": 8,
            },
            "--eval-global-batch-size 8: Each pipeline has 2 micro-batches an iteration, and virtual stages take them",
        ),
    ],
)
def test_what_megatron_breaks_off_at_is_refused_before(given: dict[str, Any], says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        prepared(**given)
