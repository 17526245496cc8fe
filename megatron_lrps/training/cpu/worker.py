"""Preloaded into the fork server, for Megatron's persistent checkpoint writers.

A writer is a fresh process, in which nothing of ``install`` holds; it divides its rank by
``torch.cuda.device_count()`` before its first save.
"""

from megatron_lrps.training.cpu import device

device.patch_torch()

# Only now: Megatron must not be imported before the device answers.
from megatron_lrps.training.megatron.wheel_gaps import fill_writer_gaps  # noqa: E402

fill_writer_gaps()
