"""Megatron's samples of a GPT model, each with the mask of its own padding alone."""

from typing import Any

import torch
from megatron.core.datasets import gpt_dataset


class GPTDataset(gpt_dataset.GPTDataset):  # type: ignore[misc]
    """Megatron's data set, under its own name, which is part of the names of its cached indexes.

    Megatron keeps the loss mask of the first sample that a process reads for all later ones, and with it that sample's
    padding. A process that starts later, as at a fork or a resume, would leave out other tokens.
    """

    cached_loss_mask: torch.Tensor | None

    def __getitem__(self, index: int | None) -> dict[str, torch.Tensor]:
        """Return a sample's fields, each [sequence]; the attention mask is [1, sequence, sequence]."""
        kept = self.cached_loss_mask
        sample: dict[str, Any] = super().__getitem__(index)
        if kept is None and self.cached_loss_mask is not None:
            self.cached_loss_mask = torch.ones_like(self.cached_loss_mask)
        return sample
