"""The names of Megatron-LM's main line, 0.20, that are others in 0.19."""

import dataclasses

from megatron_lrps.training.megatron import release_0_19

RELEASE = dataclasses.replace(
    release_0_19.RELEASE,
    prefix="0.20.",
    newest="0.20.0",
    tokenizers="megatron.core.tokenizers.text.libraries",
)
