"""The names of megatron-core 0.17 that are others in 0.18: its ``initialize_megatron`` parses the command line."""

import dataclasses

from megatron_lrps.training.megatron import release_0_18
from megatron_lrps.training.megatron.names import HybridNames, Name

_INITIALIZE = "megatron.training.initialize"
_PARSED = ("extra_args_provider", "ignore_unknown_args")
_STACK = "megatron.core.ssm.mamba_block"
_MODEL = "megatron.core.models.mamba"

RELEASE = dataclasses.replace(
    release_0_18.RELEASE,
    prefix="0.17.",
    newest="0.17.1",
    parse_args=(Name(_INITIALIZE, "parse_args", _PARSED), *release_0_18.RELEASE.parse_args),
    validate_args=Name(_INITIALIZE, "validate_args", ("args",)),
    set_globals=Name(_INITIALIZE, "set_global_variables", ("args",)),
    gpt="megatron_lrps.training.megatron.gpt_0_17",
    hybrid=HybridNames(
        model=Name(f"{_MODEL}.mamba_model", "MambaModel"),
        stack=Name(_STACK, "MambaStack"),
        submodules=Name(_STACK, "MambaStackSubmodules"),
        layers=Name(f"{_MODEL}.mamba_layer_specs", "mamba_stack_spec"),
        norm=Name(_STACK, "TENorm"),
    ),
    plain_evaluation=True,
    steps_batches=False,
)
