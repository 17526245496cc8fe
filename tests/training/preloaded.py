"""What the server of ``ranks`` imports before it forks: what Megatron takes of torch, and none of Megatron."""

import os

from megatron_lrps.plan.cpu_flags import CPU_ENV

os.environ.update(CPU_ENV)

import torch.distributed.checkpoint
import torch.distributed.fsdp
import torch.distributed.tensor
import torch.export
import torch.utils.tensorboard  # noqa: F401
