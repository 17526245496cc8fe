"""The Hugging Face families that can be exported and imported: one file each, and one line in the table below."""

from megatron_lrps.convert.families import (
    deepseek_v2,
    deepseek_v3,
    ernie4_5,
    glm4_moe,
    gpt2,
    gpt_oss,
    kimi_k2,
    llama,
    ministral,
    mistral,
    mixtral,
    nemotron_h,
    phi3,
    qwen2,
    qwen2_moe,
    qwen3,
    qwen3_moe,
    seed_oss,
    smollm3,
)
from megatron_lrps.convert.families.family import Family

_FAMILIES = (
    llama.FAMILY,
    seed_oss.FAMILY,
    mistral.FAMILY,
    ministral.FAMILY,
    phi3.FAMILY,
    smollm3.FAMILY,
    ernie4_5.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    mixtral.FAMILY,
    qwen3_moe.FAMILY,
    qwen2_moe.FAMILY,
    glm4_moe.FAMILY,
    deepseek_v2.FAMILY,
    deepseek_v3.FAMILY,
    kimi_k2.FAMILY,
    gpt_oss.FAMILY,
    gpt2.FAMILY,
    nemotron_h.FAMILY,
)
FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}
"""Name -> family. A checkpoint belongs to the last one that fits it: special cases come after the general one."""
