"""The data that Megatron saves beside the weights: the run's arguments, and the optimizer's and FP8 states."""

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from megatron_lrps.errors import RefusedError
from megatron_lrps.training.megatron.installed import installed_release, installed_version
from megatron_lrps.training.megatron.patching import set_meanwhile

ARGUMENTS = "lrps_arguments"
"""The key in the scheduler's state of the run's arguments, as JSON, where the loop saves none: Megatron-Bridge's."""
_VOUCHED = "NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE"


def saved_arguments(name: str) -> dict[str, Any]:
    """Read the arguments that a checkpoint was saved with, weights-only: nothing in it is executed."""
    from megatron.core.dist_checkpointing.serialization import load_common_state_dict

    alone = installed_release().common_file
    if alone is not None and not (Path(name) / alone).is_file():
        raise RefusedError(
            f"{name} has no {alone}: it was saved by megatron-core 0.19 or later, and megatron-core "
            f"{installed_version()} cannot read it.",
            "go on with the release that saved it, or fork from a checkpoint that an older one saved.",
        )
    try:
        state = load_common_state_dict(name)
        scheduler = state.get("opt_param_scheduler") or {}
        if "args" not in state and "checkpoint_version" in state and ARGUMENTS not in scheduler:
            raise RefusedError(
                f"{name} was saved by Megatron-Bridge without Megatron-LRPS: it does not say what it was trained with.",
                "fork off a path that follow() has trained.",
            )
        saved: dict[str, Any] = vars(state["args"]) if "args" in state else json.loads(scheduler[ARGUMENTS])
    except RefusedError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise RefusedError(
            f"The checkpoint {name} cannot be read by megatron-core {installed_version()}: {reason}.",
            "if a newer release saved it, go on with that one; otherwise move that folder away, and the checkpoint "
            "before it is used.",
        ) from None
    return saved


def refuse_without_moments(name: str) -> None:
    """Refuse a checkpoint that was saved before the first step that was not skipped: Megatron cannot load it."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    keys = FileSystemReader(name).read_metadata().state_dict_metadata
    if not any("exp_avg" in key for key in keys):
        raise RefusedError(
            f"{name} holds no state of the optimizer: it was saved while fp16's loss scale was still falling, and "
            "every step up to it was skipped.",
            "fork or resume at a later checkpoint, or train anew with a lower --initial-loss-scale or with --bf16.",
        )


def vouched_states() -> AbstractContextManager[None]:
    """Return a context in which Transformer Engine reads FP8 scales, of a checkpoint that the start found to be data.

    ``delayed`` keeps them in a pickle, which version 2.16.1 and later read only if this variable vouches for it.
    """
    return set_meanwhile(os.environ, _VOUCHED, "1")
