"""GPT pretraining on ``megatron.training``: loss, forward step, datasets, and ``main``.

The megatron-core wheel ships the training loop without an entry; this is one, for decoder-only models
under tensor, pipeline (with virtual stages), context and data parallelism. What it does not train (packed
fine-tuning, fill-in-the-middle, distillation) it refuses by the flag's name.
"""

from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import torch
from megatron.core import mpu
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig, MockGPTDataset
from megatron.core.rerun_state_machine import get_rerun_state_machine
from megatron.core.transformer.multi_token_prediction import get_mtp_ranks
from megatron.core.utils import StragglerDetector, get_attr_wrapped_model
from megatron.training import get_args, get_tensorboard_writer, get_timers, print_rank_0
from megatron.training.arguments import core_transformer_config_from_args
from megatron.training.utils import get_blend_and_blend_per_split, is_first_or_last_pipeline_stage
from torch import Tensor

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.entry_flags import NOT_HONOURED
from megatron_lrps.training.megatron.gpt_parts import FIELDS, Batch, applied_rope_factor, gpt_parts
from megatron_lrps.training.megatron.installed import installed_release
from megatron_lrps.training.megatron.wheel_gaps import fill_wheel_gaps

LossReport = tuple[Tensor, Tensor, dict[str, Tensor]]
DatasetProvider = Callable[..., tuple[Any, Any, Any]]
"""``provider([train, valid, test sample counts], vp_stage=None)`` -> the three datasets, or ``None``s.

A provider that builds on every rank that needs the data carries ``is_distributed = True``.
"""

_SPIKE = 10
"""A loss this many times the largest one seen is a spike (``--check-for-spiky-loss``)."""

_SAME_IN_DATASETS = (
    *("split", "multiple_validation_sets", "full_validation", "mmap_bin_files", "eod_mask_loss"),
    *("num_dataset_builder_threads", "reset_position_ids", "reset_attention_mask", "object_storage_cache_path"),
    *("mid_level_dataset_surplus", "allow_ambiguous_pad_tokens", "context_parallel_size", "data_parallel_size"),
)
"""Arguments of Megatron that have the same name in the configuration of its data sets."""
_stragglers = StragglerDetector()


def loss_func(loss_mask: Tensor, output_tensor: Tensor) -> LossReport:
    """Sum the loss of the unmasked tokens of one micro-batch.

    Args:
        loss_mask: [batch, sequence], 1 where a token counts.
        output_tensor: [batch, sequence], each token's cross entropy, as the last stage returns it.

    Returns:
        The summed loss (the schedule divides it), the number of tokens counted (int), and what to
        report: ``{"lm loss": [sum, tokens]}``, which Megatron adds up over data-parallel ranks.

    Raises:
        RuntimeError: From Megatron's rerun state machine, if the loss is NaN or infinite and
            ``--check-for-nan-in-loss-and-grad`` is on.
    """
    mask = loss_mask.reshape(-1).float()
    loss = (output_tensor.reshape(-1).float() * mask).sum()
    tokens = mask.sum().detach().to(torch.int)
    _check(loss)
    return loss, tokens, {"lm loss": torch.stack((loss.detach(), tokens.to(loss.dtype)))}


def _check(loss: Tensor) -> None:
    """Let the rerun state machine judge this rank's loss before it is averaged with others."""
    args = get_args()
    machine = get_rerun_state_machine()
    # The forward pass is deterministic: a rerun that disagrees by any amount is a hardware fault.
    validate = partial(machine.validate_result, result=loss, tolerance=0.0)
    if args.check_for_nan_in_loss_and_grad:
        for rejects, name in ((torch.isnan, "NaN"), (torch.isinf, "Inf")):
            validate(rejection_func=rejects, message=f"the local loss is {name}", fatal=True)
    if args.check_for_spiky_loss:
        spikes = partial(machine.is_unexpectedly_large, threshold=_SPIKE, context="loss")
        validate(rejection_func=spikes, message="the local loss spikes", fatal=False)


@cache
def _predicts_more_tokens(vp_stage: int | None) -> bool:
    """Tell whether this stage has multi-token-prediction layers, which need the tokens too."""
    return gpt_parts().predicts_more(core_transformer_config_from_args(get_args()), vp_stage)


def _needs_data(vp_stage: int | None) -> bool:
    return bool(is_first_or_last_pipeline_stage(vp_stage)) or _predicts_more_tokens(vp_stage)


def get_batch(data_iterator: Iterator[Batch] | None, vp_stage: int | None) -> Batch:
    """Read one micro-batch on tensor rank 0 and give every rank its part.

    Args:
        data_iterator: Yields [batch, sequence] tensors by field; ``None`` on other tensor ranks.
        vp_stage: The virtual pipeline stage, if there are any.

    Returns:
        Each of tokens, position_ids, attention_mask, labels and loss_mask, [batch, sequence / CP] (the
        attention mask [batch, 1, sequence / CP, sequence]); ``None`` if this stage does not use it.
    """
    if not _needs_data(vp_stage):
        return dict.fromkeys(FIELDS)
    batch = gpt_parts().share_batch(data_iterator, get_args(), _predicts_more_tokens(vp_stage))
    return {field: batch[field] for field in FIELDS}


def forward_step(
    data_iterator: Iterator[Batch] | None, model: Any, return_schedule_plan: bool = False
) -> tuple[Any, Callable[[Tensor], LossReport]]:
    """Run one micro-batch through this stage of the model.

    Args:
        data_iterator: As in ``get_batch``.
        model: A GPT model (chunk), wrapped or not.
        return_schedule_plan: Asked for by the schedule that overlaps expert communication: return the
            model's plan for the step in place of its output.

    Returns:
        The output ([batch, sequence / CP] losses on the last stage, hidden states on others), and the
        function that turns the last stage's into a loss.
    """
    timers = get_timers()
    timers("batch-generator", log_level=2).start()
    with _stragglers(bdata=True):
        batch = get_batch(data_iterator, get_attr_wrapped_model(model, "vp_stage"))
    timers("batch-generator").stop()
    with _stragglers:
        compute = model.build_schedule_plan if return_schedule_plan else model
        output = compute(
            batch["tokens"],
            batch["position_ids"],
            batch["attention_mask"],
            labels=batch["labels"],
            loss_mask=batch["loss_mask"],
        )
    return output, partial(loss_func, batch["loss_mask"])


def is_dataset_built_on_rank(vp_stage: int | None = None) -> bool:
    """Tell whether this rank reads data: tensor rank 0 of the first and last stages (and MTP's)."""
    return mpu.get_tensor_model_parallel_rank() == 0 and _needs_data(vp_stage)


def dataset_config(args: Namespace) -> GPTDatasetConfig:
    """Build the dataset configuration that Megatron's own flags describe.

    ``blend`` (``--data-path``) or ``blend_per_split`` (``--train-data-path`` and the like) is set, or
    neither with ``--mock-data``.
    """
    blend, blend_per_split = get_blend_and_blend_per_split(args)
    return GPTDatasetConfig(
        random_seed=args.seed,
        sequence_length=args.seq_length,
        blend=blend,
        blend_per_split=blend_per_split,
        path_to_cache=args.data_cache_path,
        tokenizer=installed_release().build_tokenizer.get()(args),
        create_attention_mask=args.create_attention_mask_in_dataloader,
        fast_cache_load=args.dataloader_fast_cache_load,
        defer_npy_index_mmap=args.dataloader_defer_npy_index_mmap,
        sequence_parallel_size=args.tensor_model_parallel_size * args.sequence_parallel,
        **{name: getattr(args, name) for name in _SAME_IN_DATASETS},
    )


def stock_datasets(samples: list[int | None], vp_stage: int | None = None) -> tuple[Any, Any, Any]:
    """Build train, validation and test datasets from Megatron's own data flags.

    Args:
        samples: Samples wanted of each; ``None`` for one pass over the data.
        vp_stage: The virtual pipeline stage, if there are any.

    Returns:
        The three datasets; ``None`` in place of each that this rank does not read or that has no data.
    """
    args = get_args()
    print_rank_0("> building the datasets ...")
    kind = MockGPTDataset if args.mock_data else GPTDataset
    built_here = partial(is_dataset_built_on_rank, vp_stage)
    builder = BlendedMegatronDatasetBuilder(kind, samples, built_here, dataset_config(args))
    train, valid, test = builder.build()
    return train, valid, test


# Every rank builds for itself; without the mark Megatron builds on tensor rank 0 alone.
stock_datasets.is_distributed = True  # type: ignore[attr-defined]


def get_embedding_ranks(stage_ranks: list[int]) -> list[int]:
    """Return the ranks of one pipeline that hold a copy of the word embedding, ascending."""
    args = get_args()
    ranks = {stage_ranks[0]}
    if len(stage_ranks) > 1:
        if not args.untie_embeddings_and_output_weights:
            ranks.add(stage_ranks[-1])
        ranks.update(get_mtp_ranks(stage_ranks, core_transformer_config_from_args(args)))
    return sorted(ranks)


def main(dataset_provider: DatasetProvider | None = None) -> None:
    """Parse ``sys.argv`` as Megatron's command line and train.

    Args:
        dataset_provider: Builds the datasets; by default from Megatron's own data flags.

    Raises:
        RefusedError: A flag asks for a training mode that this entry lacks.
    """
    fill_wheel_gaps()
    try:
        gpt_parts().train(_refuse_other_modes, dataset_provider or stock_datasets, forward_step, get_embedding_ranks)
    finally:
        # Megatron flushes when training ends; the figures of the evaluations after it would be lost.
        if (writer := get_tensorboard_writer()) is not None:
            writer.flush()


def _refuse_other_modes(args: Namespace) -> None:
    applied_rope_factor(args)  # before a checkpoint is compared with the arguments
    for flag, why in NOT_HONOURED.items():
        if getattr(args, flag.replace("-", "_"), None):
            raise RefusedError(
                f"--{flag} is given, but would not be honoured: {why}.",
                "leave it out, or run Megatron-LM's own script: python -m megatron_lrps SCRIPT ...",
            )
