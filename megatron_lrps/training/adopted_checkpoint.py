"""A main path continues an existing run only if that run has everything that a fork point has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.adopted_run import refuse_other_content
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.refused_flags import UNSAFE
from megatron_lrps.training.path_to_train import PathToTrain


def refuse_unfit(path: PathToTrain, saved: Mapping[str, Any], identity: Identity, start: StartPoint) -> None:
    """Refuse an adopted checkpoint that lacks a state, that was trained on other text, or that has been replaced.

    Its arguments have been compared before, and the state of its scheduler is compared when it is loaded.

    Args:
        path: The main path.
        saved: The arguments that the checkpoint was saved with, by destination.
        identity: The identity of the main path's data and tokenizer.
        start: The adopted checkpoint.

    Raises:
        RefusedError: naming the checkpoint and what is wrong with it.
    """
    for flag in ("no-save-optim", "no-save-rng"):
        if saved.get(flag.replace("-", "_")):
            raise RefusedError(
                f"{start.name} was saved with --{flag}: {UNSAFE[flag]}.",
                "name a main.iteration that was saved without it.",
            )
    _refuse_other_tokenizer(saved, identity, start.name)
    if path.folder is not None and start.checkpoint is not None:
        refuse_other_content(path.folder, start.checkpoint)


def _refuse_other_tokenizer(saved: Mapping[str, Any], identity: Identity, name: str) -> None:
    """Refuse another tokenizer's content, as far as the run's own is still at its old place."""
    model = saved.get("tokenizer_model")
    if not isinstance(model, str) or not Path(model).exists():
        return
    try:
        there = tokenizer_fingerprint(model)
    except RefusedError:
        return
    if there != identity.tokenizer:
        raise RefusedError(
            f"tokenizer.model: its content is {str(identity.tokenizer)[:16]}, and {name} was trained with {model}, "
            f"whose content is {there[:16]}: the same ids would mean other text.",
            f"name that one: tokenizer.model: {model}.",
        )
