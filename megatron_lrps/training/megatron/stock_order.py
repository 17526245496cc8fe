"""A branch without a plan reads its data in the order of its parent's data sets.

Megatron draws as many epochs as the asked number of samples needs and shuffles them together, so a branch that
asks for another number than its parent may read other samples, some of them for the second time. It is
given the parent's number if that is enough; otherwise, data that are read once keep their order.
"""

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from megatron_lrps.errors import RefusedError

ORDER_SAMPLES = "lrps_order_samples"
"""The Megatron argument that carries the number from checkpoint to checkpoint of a branch."""


def order_samples(saved: Mapping[str, Any]) -> int:
    """Return the number of samples that a checkpoint's training data were drawn for, from its saved arguments."""
    carried = saved.get(ORDER_SAMPLES) or saved.get("train_samples")
    return int(carried or saved["train_iters"] * saved["global_batch_size"])


def build(
    original: Callable[[tuple[Any, ...]], tuple[Any, ...]], samples: tuple[Any, ...], args: Namespace
) -> tuple[Any, ...]:
    """Build a branch's data sets in its parent's order.

    Args:
        original: Megatron's ``build_train_valid_test_datasets``, by the numbers of samples.
        samples: The numbers of samples for training, validation and test.
        args: Megatron's arguments, with ``ORDER_SAMPLES``.

    Raises:
        RefusedError: if no number of samples gives the parent's order.
    """
    wanted, drawn = samples[0], getattr(args, ORDER_SAMPLES)
    built = original((max(wanted, drawn), *samples[1:]))
    if wanted > drawn and not read_once(built[0]):
        raise RefusedError(
            f"The branch ends at sample {wanted}, its parent's data were drawn for {drawn}, and they are read for "
            "more than one epoch: Megatron would shuffle them anew, and the branch would read other samples.",
            f"train the parent with --train-iters {args.train_iters} or more from its start, or use a plan.",
        )
    return built


def read_once(train: Any) -> bool:
    """Whether each data set of a blend is read for one epoch at most; a rank that reads nothing has None instead."""
    if train is None:
        return True
    parts = getattr(train, "datasets", None)
    if parts is not None:
        return all(read_once(part) for part in parts)
    documents, drawn = getattr(train, "indices", None), getattr(train, "document_index", None)
    # A data set of another kind says nothing about its order, and unknown is not the same.
    return documents is not None and drawn is not None and len(drawn) <= len(documents)
