"""Hugging Face families that people ask for and that Megatron cannot compute, each with its reason."""

from collections.abc import Mapping
from typing import NamedTuple


class Lacking(NamedTuple):
    """A family that is refused: models that people know, and what Megatron lacks, as a clause."""

    models: str
    why: str


_POST_NORMS = "its norms stand behind attention and MLP, and Megatron's GPT layer has its own before them"
WITHOUT_COUNTERPART: Mapping[str, Lacking] = {
    "olmo2": Lacking("OLMo 2", f"{_POST_NORMS}; those of queries and keys are over all heads at once"),
    "olmo3": Lacking("OLMo 3", f"{_POST_NORMS}; those of queries and keys are over all heads at once"),
    "glm4": Lacking(
        "GLM-4 (dense)", "it has norms both before and behind attention and MLP, Megatron only those before"
    ),
    "glm4_moe_lite": Lacking(
        "GLM-4.7-Flash", "its norms within attention have another epsilon than the others, and Megatron has one for all"
    ),
    "ministral3": Lacking("Ministral 3", "its queries grow with the position, which Megatron has for no layer"),
    "gemma2": Lacking("Gemma 2", "it caps attention scores and logits with tanh, which Megatron does not"),
    "gemma3_text": Lacking("Gemma 3", "it has norms behind attention and MLP, and another rotary base in some layers"),
    "granite": Lacking("Granite", "it multiplies what attention and MLP add by a factor, which Megatron does not"),
}
"""``model_type`` -> what is lacking."""
