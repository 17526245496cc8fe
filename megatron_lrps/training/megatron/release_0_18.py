"""The names of megatron-core 0.18 that are others in 0.19."""

import dataclasses

from megatron_lrps.training.megatron import release_0_19
from megatron_lrps.training.megatron.names import Name

RELEASE = dataclasses.replace(
    release_0_19.RELEASE,
    prefix="0.18.",
    newest="0.18.2",
    tracker_files=Name("megatron.training.checkpointing", "open_file"),
    gpt="megatron_lrps.training.megatron.gpt_0_18",
    common_file="common.pt",
)
