"""Tensors in blocks of rows, so that memory does not grow with the model."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

BLOCK_BYTES = 64 * 2**20
"""The size of a block. Only GPT-2's matrices, which are transposed, are read whole."""


def row_blocks(start: int, stop: int, row_bytes: int, block_bytes: int | None = None) -> Iterator[tuple[int, int]]:
    """Cut the rows into blocks of at most ``block_bytes``, by default ``BLOCK_BYTES``: (first, after the last)."""
    step = max(1, (block_bytes or BLOCK_BYTES) // row_bytes)
    for begin in range(start, stop, step):
        yield begin, min(begin + step, stop)


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of the values in their order; copied only if the tensor is not contiguous."""
    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())


def ahead(blocks: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield the same blocks, but the next one is read while the caller works on one."""
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(next, blocks, None)
        while (block := job.result()) is not None:
            job = pool.submit(next, blocks, None)
            yield block


def mean_row(blocks: Iterable[Tensor]) -> Tensor:
    """Return the mean of all rows of the blocks, in fp64."""
    count, total = 0, torch.zeros((), dtype=torch.float64)
    for block in blocks:
        count += len(block)
        total = total + block.sum(0, dtype=torch.float64)
    return total / count
