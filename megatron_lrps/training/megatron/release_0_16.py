"""The names of megatron-core 0.16 that are others in 0.17. Its wheel has no ``megatron.training``, a checkout has."""

import dataclasses

from megatron_lrps.training.megatron import release_0_17
from megatron_lrps.training.megatron.names import Name

RELEASE = dataclasses.replace(
    release_0_17.RELEASE,
    prefix="0.16.",
    newest="0.16.1",
    hybrid=None,
    results_queue=None,
    start_writer=None,
    build_tokenizer=Name("megatron.core.tokenizers.text.utils.build_tokenizer", "build_tokenizer", ("args",)),
)
