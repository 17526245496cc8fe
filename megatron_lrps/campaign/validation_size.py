"""Whether a path's validation sets are large enough to be evaluated."""

from megatron_lrps.data.index_reader import token_count
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data_files import validation_sets


def refuse_small_sets(tree: Tree, path: PlannedPath, ranks: int) -> None:
    """Refuse a validation set that leaves a data-parallel rank without a sample: Megatron would fail to evaluate.

    Args:
        tree: The plan's tree.
        path: One of its paths.
        ranks: The data-parallel size.

    Raises:
        RefusedError: naming the set, its samples and the ranks.
    """
    length = tree.plan_of(path).sequence_length
    for name, prefix in validation_sets(tree, path).items():
        tokens = token_count(prefix)
        samples = max(tokens - 1, 0) // length  # the labels of a sample are shifted by one token
        if samples < ranks:
            raise RefusedError(
                f"Validation set {name} has {tokens} tokens ({prefix}), {samples} samples of {length}, and each of "
                f"{ranks} data-parallel ranks needs one.",
                f"give it {ranks * length + 1} tokens or more.",
            )
