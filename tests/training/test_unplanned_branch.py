"""What a branch that is given by flags alone refuses, before Megatron validates them."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.megatron_arguments import arguments
from megatron_lrps.training.unplanned_branch import unplanned_branch


def args_of(folder: Path, **given: Any) -> Namespace:
    """Megatron's, parsed: a branch of 6 iterations off iteration 4, four samples each."""
    own = {
        "lrps_fork_iter": 4,
        "lrps_decay_iters": 6,
        "lrps_decay_shape": "cosine",
        "lrps_parent": str(folder / "main"),
    }
    sizes = {"save": str(folder / "branch"), "global_batch_size": 4, "lr": 1e-3, "min_lr": 1e-4}
    return Namespace(**{**{name: each.default for name, each in arguments().items()}, **own, **sizes, **given})


def test_a_branch_takes_what_stock_flags_it_can_keep(tmp_path: Path) -> None:
    run = unplanned_branch(args_of(tmp_path, train_iters=10, ckpt_step=4, ckpt_format="torch_dist"))
    assert (run.fork, run.end, run.own, run.parent) == (4, 10, tmp_path / "branch", tmp_path / "main")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train_samples": 40}, "--train-samples is given to a branch: its end is --lrps-fork-iter + --lrps-decay"),
        ({"lr_decay_samples": 40}, "--lr-decay-samples is given to a branch"),
        ({"phase_transition_iterations": "6"}, "--phase-transition-iterations is given to a branch: it ends the job"),
        ({"iterations_to_skip": [6]}, "--iterations-to-skip is given to a branch: main and branch would read other"),
        (
            {"result_rejected_tracker_filename": "f"},
            "--result-rejected-tracker-filename is given to a branch: it skips",
        ),
        ({"rampup_batch_size": [2, 2, 8]}, "--rampup-batch-size is given to a branch: without a plan, positions"),
        ({"step_batch_size_schedule": "0:2 8:4"}, "--step-batch-size-schedule is given to a branch"),
        ({"decrease_batch_size_if_needed": True}, "--decrease-batch-size-if-needed is given to a branch"),
        ({"override_ckpt_iteration": 3}, "--override-ckpt-iteration is given to a branch"),
        ({"non_persistent_ckpt_type": "global"}, "--non-persistent-ckpt-type is given to a branch: fork-or-resume"),
        ({"non_persistent_save_interval": 2}, "--non-persistent-save-interval is given to a branch"),
        ({"ckpt_format": "torch"}, "--ckpt-format torch is given, but a branch reads and writes only torch_dist"),
        ({"ckpt_format": "fsdp_dtensor"}, "--ckpt-format fsdp_dtensor is given, but a branch reads"),
        ({"ckpt_step": 3}, "--ckpt-step 3 contradicts --lrps-fork-iter 4"),
    ],
)
def test_what_a_branch_cannot_keep_is_refused_by_name(given: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError) as refusal:
        unplanned_branch(args_of(tmp_path, **given))
    assert words in str(refusal.value)
    assert refusal.value.fix
