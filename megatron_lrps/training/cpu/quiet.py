"""Warnings that only say that there is no GPU are ignored, each by its whole text."""

import re
import warnings

_TEXTS = (
    "Transformer Engine and Apex are not installed. Falling back to local implementations of "
    "multi_tensor_applier and multi_tensor_scale",
    "Transformer Engine and Apex are not installed. Falling back to local implementations of "
    "multi_tensor_applier and multi_tensor_l2norm",
    "Transformer Engine and Apex are not installed. Falling back to local implementations of "
    "multi_tensor_applier, multi_tensor_l2norm, and multi_tensor_scale",
    "Apex is not installed. Falling back to Torch Norm",
    "Only transformer-engine>=1.7.0 supports MoE experts, but your version is 0.0.0. "
    "Use local linear implementation instead.",
    "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
)


def ignore_missing_gpu_warnings() -> None:
    """Ignore them in this process, whichever module gives them."""
    for text in _TEXTS:
        warnings.filterwarnings("ignore", message=re.escape(text) + r"\Z", category=UserWarning)
