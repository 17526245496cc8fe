"""The device's RNG streams: generators of their own, apart from the host's.

Megatron keeps one host stream (weight initialization, torch's default generator) and several device
streams (dropout: one per parallel region, switched by its RNG tracker), and saves all of them in every
checkpoint. On a CPU torch has one generator; were it used for both, Megatron would warn at every dropout
("CPU RNG state changed within GPU RNG context") and tensor-parallel ranks would drop the same units.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.distributions.uniform import Uniform

DEVICE_GENERATOR = torch.Generator(device="cpu")
"""The counterpart of ``torch.cuda.default_generators[0]`` on a GPU."""


def get_rng_state(device: object = "cuda") -> Tensor:
    """Return a copy of the device generator's state, a uint8 tensor."""
    return DEVICE_GENERATOR.get_state()


def get_rng_state_all() -> list[Tensor]:
    """Return the states of all devices: there is one."""
    return [get_rng_state()]


def set_rng_state(new_state: Tensor, device: object = "cuda") -> None:
    """Set the device generator's state, a uint8 tensor that ``get_rng_state`` returned."""
    DEVICE_GENERATOR.set_state(new_state)


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Set the states of all devices: there is one."""
    for state in new_states:
        set_rng_state(state)


def manual_seed(seed: int) -> None:
    """Seed the device generator."""
    DEVICE_GENERATOR.manual_seed(seed)


def manual_seed_all(seed: int) -> None:
    """Seed all devices' generators: there is one. ``torch.manual_seed`` calls it, as on a GPU."""
    manual_seed(seed)


def initial_seed() -> int:
    """Return the device generator's seed."""
    return DEVICE_GENERATOR.initial_seed()


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Act as ``torch.nn.functional.dropout``, drawing from the device generator.

    Args:
        input: Any shape, a floating-point type.
        p: The probability of an element to be zeroed; the rest is scaled by 1/(1-p).
        training: ``False`` returns the input.
        inplace: Whether to overwrite the input.

    Raises:
        ValueError: ``p`` is not in [0, 1].
    """
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p == 0.0 or not training:
        return input
    keep = torch.empty_like(input).bernoulli_(1.0 - p, generator=DEVICE_GENERATOR)
    if p < 1.0:
        keep.div_(1.0 - p)
    return input.mul_(keep) if inplace else input * keep


def uniform_sample(distribution: Uniform, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
    """Act as ``torch.distributions.Uniform.rsample``, drawing from the device generator: a router's jitter."""
    shape = distribution._extended_shape(torch.Size(sample_shape))
    drawn = torch.rand(shape, dtype=distribution.low.dtype, generator=DEVICE_GENERATOR)
    return distribution.low + drawn * (distribution.high - distribution.low)


_FUNCTIONS: tuple[Callable[..., object], ...] = (
    *(get_rng_state, get_rng_state_all, set_rng_state, set_rng_state_all),
    *(manual_seed, manual_seed_all, initial_seed),
)
REPLACEMENTS = {function.__name__: function for function in _FUNCTIONS}
"""The replacements for the RNG functions of ``torch.cuda``, by their names there."""
