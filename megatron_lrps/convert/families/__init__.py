"""The Hugging Face families that can be exported and imported: one file each, and one line in the table below."""

from megatron_lrps.convert.families import gpt2, llama, mistral, mixtral, qwen2, qwen2_moe, qwen3, qwen3_moe
from megatron_lrps.convert.families.family import Family

_FAMILIES = (
    llama.FAMILY,
    mistral.FAMILY,
    qwen2.FAMILY,
    qwen3.FAMILY,
    mixtral.FAMILY,
    qwen3_moe.FAMILY,
    qwen2_moe.FAMILY,
    gpt2.FAMILY,
)
FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}
"""Name -> family. A checkpoint belongs to the last one that fits it: special cases come after the general one."""
