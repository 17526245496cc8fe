"""MXFP4, the packed format that gpt-oss is published in, read as bf16.

32 numbers of 4 bits share a power of two (OCP Microscaling Formats 1.0, section 5). bf16 holds every such number, so
nothing is rounded. A matrix lies in two tensors: ``NAME_blocks``, uint8 [experts, columns, blocks, 16] with two numbers
in a byte, the first one in its lower half, and ``NAME_scales``, uint8 [experts, columns, blocks], the power plus 127.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from megatron_lrps.convert.safetensors import FileTensor, StoredTensor
from megatron_lrps.errors import RefusedError

BLOCKS, SCALES = "_blocks", "_scales"
"""The endings of the names of the two tensors."""
_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_BIAS = 127


@dataclass(frozen=True, kw_only=True)
class PackedTensor:
    """A stack of matrices in MXFP4, read as bf16 [experts, rows, columns].

    Attributes:
        name: The name of the matrices.
        blocks: Their numbers.
        scales: Their powers of two.
    """

    name: str
    blocks: FileTensor
    scales: FileTensor

    @property
    def file(self) -> Path:
        """The file of the numbers."""
        return self.blocks.file

    @property
    def shape(self) -> tuple[int, ...]:
        """Experts, rows and columns."""
        experts, columns, blocks, half = self.blocks.shape
        return experts, 2 * blocks * half, columns

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that is read."""
        return torch.bfloat16

    def read(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Return the matrices from ``start`` to before ``stop``; raises StorageError and RefusedError."""
        values = torch.tensor([*_VALUES, *(-value for value in _VALUES)])
        packed, powers = self.blocks.read(start, stop), self.scales.read(start, stop).to(torch.int32) - _BIAS
        pairs = torch.stack((packed & 15, packed >> 4), -1).flatten(-2)
        numbers = torch.ldexp(values[pairs.long()], powers[..., None]).to(torch.bfloat16)
        return numbers.flatten(-2).transpose(-1, -2)


def unpacked(found: Mapping[str, FileTensor]) -> dict[str, StoredTensor]:
    """Return the weights of a folder with each pair of packed tensors as one; raises RefusedError for half a pair."""
    whole: dict[str, StoredTensor] = {}
    for name, tensor in found.items():
        if tensor.dtype != torch.uint8:
            whole[name] = tensor
            continue
        base = name.removesuffix(BLOCKS).removesuffix(SCALES)
        blocks, scales = found.get(base + BLOCKS), found.get(base + SCALES)
        if blocks is None or scales is None or len(blocks.shape) != 4 or blocks.shape[:-1] != scales.shape:
            raise RefusedError(
                f"{tensor.file}: {name} is packed as MXFP4, but there are no {base}{BLOCKS} and {base}{SCALES} that "
                "fit each other.",
                "download the model again.",
            )
        whole[base] = PackedTensor(name=base, blocks=blocks, scales=scales)
    return whole
