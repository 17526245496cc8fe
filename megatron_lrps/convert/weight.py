"""One weight of a Hugging Face model, as rows of one of Megatron's tensors."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Weight:
    """One Hugging Face weight.

    Attributes:
        name: The name of the weight.
        key: The key of Megatron's tensor.
        index: The part of that tensor: (layer,), (layer, expert) or empty.
        rows: The (start, stop) ranges of that part's rows, in the weight's order.
        inner: The dimensions behind the rows in Megatron's shape: (columns,) or empty.
        transposed: The weight is the transpose of the rows.
        stacked: The number of parts that the weight is a stack of, one for each expert; 0 if it is one part.
        interleaved: The first half of the rows and the second take turns in the weight.
        alias: Another key of the same values, that Transformer Engine's layers read, or empty.
        begin: The row of the weight at which these begin, if it holds several of Megatron's tensors.
        total: All rows of such a weight; 0 if these are all.
    """

    name: str
    key: str
    index: tuple[int, ...]
    rows: tuple[tuple[int, int], ...]
    inner: tuple[int, ...]
    transposed: bool = False
    stacked: int = 0
    interleaved: bool = False
    alias: str = ""
    begin: int = 0
    total: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that Hugging Face has."""
        shape = (self.total or sum(stop - start for start, stop in self.rows), *self.inner)
        shape = shape[::-1] if self.transposed else shape
        return (self.stacked, *shape) if self.stacked else shape

    @property
    def parts(self) -> list[tuple[int, ...]]:
        """The index of each part of Megatron's tensor that the weight holds."""
        return [(*self.index, part) for part in range(self.stacked)] if self.stacked else [self.index]

    @property
    def whole(self) -> bool:
        """A part cannot be read or written in blocks of rows."""
        return self.transposed or self.interleaved or self.stacked > 0

    def from_megatron(self, part: Tensor) -> Tensor:
        """Return a part's rows as the weight has them."""
        if self.interleaved:
            part = part.reshape(2, -1, *part.shape[1:]).transpose(0, 1).reshape(part.shape)
        return part.t() if self.transposed else part

    def to_megatron(self, values: Tensor) -> Tensor:
        """Return one part of the weight as Megatron has its rows."""
        rows = values.t() if self.transposed else values
        return rows.reshape(-1, 2, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape) if self.interleaved else rows
