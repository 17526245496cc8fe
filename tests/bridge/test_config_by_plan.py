"""A plan sets on Bridge's config what it decides, and refuses a config that says otherwise."""

from pathlib import Path
from types import SimpleNamespace as Config
from typing import Any

import pytest

from megatron_lrps.bridge.config_by_plan import MANAGER, decide
from megatron_lrps.errors import RefusedError
from megatron_lrps.training.arguments import Planned, planned_path
from tests.training.campaigns import write_campaign


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_campaign(tmp_path_factory.mktemp("campaign"))


@pytest.fixture
def main(plan: Path) -> Planned:
    return planned_path(plan, "main")


def config(**values: Any) -> Config:
    """A config as a script leaves it; ``values`` by place, with ``__`` for a dot."""
    made = Config(
        train=Config(train_iters=None, train_samples=None, global_batch_size=None, exit_signal_handler=False),
        model=Config(seq_length=None),
        optimizer=Config(lr=None, min_lr=None),
        scheduler=Config(lr_decay_style="linear", lr_warmup_iters=0, lr_warmup_init=0.0, lr_warmup_fraction=0.01),
        checkpoint=Config(save=None, load=None, save_interval=None, pretrained_checkpoint=None),
        tokenizer=Config(tokenizer_type=None, tokenizer_model=None, vocab_size=None),
        logger=Config(tensorboard_dir=None),
        dataset=Config(seq_length=32),
    )
    for place, value in values.items():
        holder, name = place.split("__")
        setattr(getattr(made, holder), name, value)
    return made


def test_the_plan_sets_what_it_decides(main: Planned, plan: Path) -> None:
    made = config()
    decide(made, main)
    assert (made.train.train_iters, made.train.global_batch_size, made.model.seq_length) == (11, 4, 32)
    assert (made.optimizer.lr, made.optimizer.min_lr) == (3e-3, 3e-4)
    assert (made.scheduler.lr_decay_style, made.scheduler.lr_warmup_iters) == ("constant", 2)
    assert made.scheduler.lr_warmup_fraction is None
    assert made.checkpoint.save == str(plan.parent / "run/paths/main/checkpoints")
    assert (made.checkpoint.save_interval, made.checkpoint.custom_manager_class) == (100, MANAGER)
    assert made.train.exit_signal_handler is True
    assert made.tokenizer.tokenizer_type == "NullTokenizer"
    assert made.logger.tensorboard_dir.endswith("run/tensorboard/main")


def test_what_the_plan_replaces_is_said(main: Planned, capsys: pytest.CaptureFixture[str]) -> None:
    decide(config(train__train_iters=300000, checkpoint__load="old"), main)
    said = capsys.readouterr().out
    assert "lrps: the plan decides config.train.train_iters: 11, where the script has 300000." in said
    assert "config.checkpoint.load: None, where the script has 'old'" in said


@pytest.mark.parametrize(
    ("place", "value", "wanted"),
    [
        ("optimizer__lr", 1e-4, "config.optimizer.lr is 0.0001, and the plan's lr.max is 0.003"),
        ("train__global_batch_size", 8, "config.train.global_batch_size is 8, and the plan's global_batch_size is 4"),
        ("model__seq_length", 64, "config.model.seq_length is 64, and the plan's sequence_length is 32"),
        ("dataset__seq_length", 64, "config.dataset.seq_length is 64"),
        ("scheduler__lr_warmup_init", 1e-5, "config.scheduler.lr_warmup_init is 1e-05"),
        ("tokenizer__tokenizer_type", "HuggingFaceTokenizer", "and the plan's tokenizer.type is 'NullTokenizer'"),
    ],
)
def test_a_contradiction_is_refused_with_both_values(place: str, value: Any, wanted: str, main: Planned) -> None:
    with pytest.raises(RefusedError) as refused:
        decide(config(**{place: value}), main)
    assert wanted in refused.value.what


def test_another_tokenizer_is_refused_by_its_content(main: Planned, tmp_path: Path, plan: Path) -> None:
    copy, other = tmp_path / "copy.txt", tmp_path / "other.txt"
    copy.write_bytes((plan.parent / "data/vocabulary.txt").read_bytes())
    other.write_text("x\n")
    decide(config(tokenizer__tokenizer_model=str(copy)), main)
    with pytest.raises(RefusedError, match="their contents differ"):
        decide(config(tokenizer__tokenizer_model=str(other)), main)


def test_a_branch_starts_from_no_other_weights(plan: Path) -> None:
    made = config(checkpoint__pretrained_checkpoint="weights")
    decide(made, planned_path(plan, "v1"))
    assert made.checkpoint.pretrained_checkpoint is None
    made = config(checkpoint__pretrained_checkpoint="weights")
    decide(made, planned_path(plan, "main"))
    assert made.checkpoint.pretrained_checkpoint == "weights"
