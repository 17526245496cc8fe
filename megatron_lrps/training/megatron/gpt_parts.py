"""The parts of GPT training for which each release of Megatron has functions of its own: ``gpt_0_19.py`` and others."""

import importlib
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.installed import installed_release, installed_version

Batch = dict[str, Any]
"""Field -> tensor, or ``None`` if a stage does not use it."""
_ROPE_FACTOR = 8.0
"""What Megatron computes with where the flag is dropped."""
FIELDS = ("tokens", "position_ids", "attention_mask", "labels", "loss_mask")


@dataclass(frozen=True, kw_only=True)
class GptParts:
    """The parts of GPT training that differ from release to release.

    Attributes:
        predicts_more: ``(config, vp_stage)`` -> whether this stage has multi-token-prediction layers.
        share_batch: ``(iterator, args, predicts_more)`` -> the micro-batch that tensor rank 0 reads from its iterator,
            on every rank of its tensor and context group, as ``FIELDS``.
        builder: ``(args, settings)`` -> the function that builds this rank's part of the model for a virtual stage,
            with some settings of the transformer's configuration replaced.
        train: ``(check, datasets, forward_step, embedding_ranks)``: parse the command line, call ``check`` with the
            arguments, and train.
    """

    predicts_more: Callable[[Any, int | None], bool]
    share_batch: Callable[[Iterator[Batch] | None, Namespace, bool], Batch]
    builder: Callable[[Namespace, dict[str, Any]], Callable[[int | None], Any]]
    train: Callable[[Callable[[Namespace], None], Any, Any, Any], None]


@cache
def gpt_parts() -> GptParts:
    """Return the parts for the installed release; raises RefusedError if it lacks something that they use."""
    release = installed_release()
    try:
        parts: GptParts = importlib.import_module(release.gpt).PARTS
    except ImportError as error:
        raise RefusedError(
            f"megatron-core {installed_version()} lacks what the plugin's own GPT entry uses: {error}.",
            f"{release.fix} A script of your own is run by: python -m megatron_lrps SCRIPT ...",
        ) from None
    return parts


def read_batch(iterator: Iterator[Batch] | None) -> Batch:
    """Read one micro-batch on tensor rank 0, as ``FIELDS`` on its device."""
    assert iterator is not None
    read = next(iterator)
    return {field: None if read.get(field) is None else read[field].cuda(non_blocking=True) for field in FIELDS}


def applied_rope_factor(args: Namespace) -> float:
    """Return the factor of ``--use-rope-scaling`` to build the model with, and note another one than Megatron's.

    The argument ``applied_rope_scaling_factor`` goes into the checkpoints, and tells them from those of scripts that
    drop the flag, as Megatron's own do.
    """
    factor = float(getattr(args, "rope_scaling_factor", _ROPE_FACTOR))
    if args.use_rope_scaling and factor != _ROPE_FACTOR:
        args.applied_rope_scaling_factor = factor
    return factor
