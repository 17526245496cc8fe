"""Kimi K2: a DeepSeek-V3 under another name, of which transformers has no class of its own."""

from megatron_lrps.convert.families import deepseek_v3
from megatron_lrps.convert.families.family import Family

FAMILY = Family(
    name="kimi_k2",
    models="Kimi K2 (in bf16, not in FP8; YaRN with `beta_fast` 32 alone)",
    made_by=(
        "those of a `deepseek_v3`, which it is exported as without `--family kimi_k2`: transformers has no class for "
        "this name"
    ),
    architecture="DeepseekV3ForCausalLM",
    is_marked=lambda args: False,
    arguments=deepseek_v3.ARGUMENTS,
    config_of=deepseek_v3.config_of,
    defaults=deepseek_v3.DEFAULTS,
    model_of=lambda config: deepseek_v3.model_of(config, "kimi_k2"),
    names=deepseek_v3.NAMES,
)
