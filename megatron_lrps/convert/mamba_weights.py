"""The weights of a Mamba layer: several of Megatron's tensors make one of Hugging Face's, row after row."""

from collections.abc import Iterator

from megatron_lrps.convert.architecture import CONVOLUTION, Model
from megatron_lrps.convert.weight import Weight


def mamba_weights(model: Model, name: str, key: str) -> Iterator[Weight]:
    """Yield the weights of one layer, those that are parts of one weight next to each other.

    Args:
        model: The model.
        name: The prefix of the layer's weights.
        key: The prefix of Megatron's keys.

    Raises:
        ValueError: The model has no Mamba layers.
    """
    if model.mamba is None:
        raise ValueError(f"a {model.family} model without Mamba layers")
    inner, heads = model.mamba.heads * model.mamba.width, model.mamba.heads
    states = model.mamba.groups * model.mamba.state
    mixed = {"x": inner, "B": states, "C": states}
    columns, mixer = (model.hidden,), f"{key}mixer."
    name = f"{name}mixer."

    def one(called: str, rows: int, inner: tuple[int, ...] = ()) -> Weight:
        return Weight(name=f"{name}{called}", key=f"{mixer}{called}", index=(), rows=((0, rows),), inner=inner)

    def joined(called: str, parts: dict[str, int], inner: tuple[int, ...] = ()) -> Iterator[Weight]:
        begin, total = 0, sum(parts.values())
        for part, rows in parts.items():
            where = f"{mixer}{called}.{part}"
            all_rows = ((0, rows),)
            yield Weight(
                name=f"{name}{called}", key=where, index=(), rows=all_rows, inner=inner, begin=begin, total=total
            )
            begin += rows

    norm = f"{mixer}in_proj.layer_norm_weight"
    yield Weight(
        name=f"{name.removesuffix('mixer.')}norm.weight", key=norm, index=(), rows=((0, model.hidden),), inner=()
    )
    yield from joined("in_proj.weight", {"z": inner, **mixed, "dt": heads}, columns)
    yield from joined("conv1d.weight", mixed, (1, CONVOLUTION))
    yield from joined("conv1d.bias", mixed)
    yield one("A_log", heads)
    yield one("D", heads)
    yield one("dt_bias", heads)
    yield one("norm.weight", inner)
    yield one("out_proj.weight", model.hidden, (inner,))
