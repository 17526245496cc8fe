"""A user's script for Megatron-Bridge: a tiny GPT, its config, and ``pretrain`` inside of ``follow``.

The CPU backend is to be installed before this is imported.
"""

import json
import os
import signal
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_decoder_block_spec
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.module import Float16Module

from tests.bridge import TERMINATED_AT


class Tokenizer:
    """The null tokenizer of ``tests/training/campaigns.py``."""

    vocab_size = 128
    eod = 127
    pad = -1
    bos_token_id = eos_token_id = 127
    unique_identifiers: ClassVar[OrderedDict[str, str]] = OrderedDict(tiny="1")


@dataclass
class TinyProvider(TransformerConfig):
    """The model of ``tests/training/campaigns.py``, as Bridge's model providers are asked for it."""

    seq_length: int | None = None
    vocab_size: int | None = None
    should_pad_vocab: bool = False
    make_vocab_size_divisible_by: int = 128
    share_embeddings_and_output_weights: bool = True
    use_te_rng_tracker: bool = False
    moe_expert_rank_capacity_factor: float | None = None

    def __post_init__(self) -> None:
        """Wait for ``finalize``, as Bridge's providers do."""

    def finalize(self) -> None:
        """Derive what the other fields decide."""
        super().__post_init__()

    def provide_distributed_model(self, ddp_config: Any, **_: Any) -> list[Any]:
        """The model on this rank, wrapped as Megatron wraps it."""
        assert self.seq_length is not None
        model = GPTModel(
            config=self,
            transformer_layer_spec=get_gpt_decoder_block_spec(self, use_transformer_engine=False),
            vocab_size=128,
            max_sequence_length=self.seq_length,
            parallel_output=True,
            share_embeddings_and_output_weights=True,
            position_embedding_type="learned_absolute",
        )
        wrapped = DistributedDataParallel(self, ddp_config, Float16Module(self, model))
        wrapped.broadcast_params()
        return [wrapped]


def forward_step(data_iterator: Any, model: Any, return_schedule_plan: bool = False) -> tuple[Any, Any]:
    """One micro-batch, and the loss as Bridge's own step gives it."""
    batch = next(data_iterator)
    mask = batch["loss_mask"].float()
    output = model(batch["tokens"], batch["position_ids"], batch["attention_mask"], labels=batch["labels"])

    def loss_of(losses: Any) -> tuple[Any, Any, dict[str, Any]]:
        loss = (losses.float() * mask).sum()
        tokens = mask.sum().detach().to(torch.int)
        return loss, tokens, {"lm loss": torch.stack((loss.detach(), tokens.to(loss.dtype)))}

    return output, loss_of


class Figures:
    """A callback of the user's: the learning rate with which each iteration was trained, and its loss."""

    def __init__(self, file: Path) -> None:
        self._file, self._rate = file, 0.0

    def on_train_step_start(self, context: Any) -> None:
        """Note the rate."""
        self._rate = context.optimizer.param_groups[0]["lr"]

    def on_train_step_end(self, context: Any) -> None:
        """Write the iteration down."""
        iteration = context.state.train_state.step + 1
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps([iteration, self._rate, float(context.loss_dict["lm loss"])]) + "\n")
        if os.environ.get(TERMINATED_AT) == str(iteration):
            os.kill(os.getpid(), signal.SIGTERM)


def make_config(**changed: Any) -> Any:
    """Return Bridge's ConfigContainer for the plan of ``tests/training/campaigns.py``.

    Args:
        changed: Place in the config with ``__`` for a dot -> another value.
    """
    from megatron.bridge.training import config as bridge

    tokenizer = bridge.TokenizerConfig(tokenizer_type="NullTokenizer", vocab_size=127)
    config = bridge.ConfigContainer(
        train=bridge.TrainingConfig(micro_batch_size=2, global_batch_size=4),
        model=TinyProvider(
            num_layers=2, hidden_size=64, num_attention_heads=4, bf16=True, params_dtype=torch.bfloat16,
            pipeline_dtype=torch.bfloat16, attention_dropout=0.0, hidden_dropout=0.0, attention_softmax_in_fp32=False,
            use_cpu_initialization=True,
            gradient_accumulation_fusion=False, masked_softmax_fusion=False, persist_layer_norm=False,
            bias_activation_fusion=False, bias_dropout_fusion=False, apply_rope_fusion=False,
            calculate_per_token_loss=False,
        ),
        optimizer=bridge.OptimizerConfig(
            optimizer="adam", bf16=True, params_dtype=torch.bfloat16, use_distributed_optimizer=True, weight_decay=0.01,
            clip_grad=1.0,
        ),
        ddp=bridge.DistributedDataParallelConfig(
            use_distributed_optimizer=True, grad_reduce_in_fp32=True, average_in_collective=False
        ),
        validation=bridge.ValidationConfig(eval_interval=100, eval_iters=1),
        scheduler=bridge.SchedulerConfig(start_weight_decay=0.01, end_weight_decay=0.01, lr_decay_style="cosine"),
        dataset=bridge.GPTDatasetConfig(
            seq_length=32, random_seed=1234, reset_position_ids=False, reset_attention_mask=False, eod_mask_loss=False,
            skip_getting_attention_mask_from_dataset=False, num_workers=0, pin_memory=False, persistent_workers=False,
        ),
        logger=bridge.LoggerConfig(log_interval=1),
        tokenizer=tokenizer,
        checkpoint=bridge.CheckpointConfig(ckpt_format="torch_dist", save_tokenizer_assets=False, load="somewhere"),
        dist=bridge.DistributedInitConfig(distributed_backend="gloo"),
        rng=bridge.RNGConfig(),
    )  # fmt: skip
    for place, value in changed.items():
        *holders, name = place.split("__")
        holder = config
        for each in holders:
            holder = getattr(holder, each)
        setattr(holder, name, value)
    return config


def prepare_bridge(where: str) -> None:
    """Make Megatron-Bridge importable: from an unpacked wheel, or the stand-in."""
    if where == "stand-in":
        from tests.bridge.stand_in import use
    else:
        from tests.bridge.wheels import use as use_wheel

        use_wheel(Path(where), Tokenizer())
        import megatron.bridge.training.initialize as initialize

        initialize.compile_helpers = lambda: None  # the wheel of megatron-core brings them compiled
        return
    use(Tokenizer())


def main() -> None:
    """``tiny.py BRIDGE PLAN PATH [CHANGED]``, CHANGED as JSON for ``make_config``."""
    where, plan, path, *changed = sys.argv[1:]
    prepare_bridge(where)
    from megatron.bridge.training.pretrain import pretrain

    from megatron_lrps.bridge import follow

    config = make_config(**json.loads(changed[0] if changed else "{}"))
    with follow(config, plan=plan, path=path) as callbacks:
        pretrain(config, forward_step, callbacks=[*callbacks, Figures(Path(f"figures-{path}.jsonl"))])
    print("the script goes on after pretrain")
