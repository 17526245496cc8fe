"""The description of a Hugging Face family. Every family is one file in this folder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families.config_keys import ConfigKeys


@dataclass(frozen=True, kw_only=True)
class WeightNames:
    """The names that a family gives to its weights.

    The names of a layer's weights stand below ``layer`` and the layer's number. The defaults are Llama's, and
    DeepSeek's for multi-latent attention.

    Attributes:
        layer: The prefix of the layers.
        embedding: The word embedding.
        positions: The learned position embedding, or empty if there is none.
        norm: The norm behind the last layer.
        head: The output layer.
        input_norm: The norm before the attention.
        mlp_norm: The norm before the MLP.
        qkv: Queries, keys and values, or one name if they are one matrix.
        qk_norms: The norms of queries and keys.
        latent: Of multi-latent attention, for queries, and for keys and values: down projection, norm, up projection.
        attention_output: The projection behind the attention.
        mlp: Gate, up and down projection; gate and up may be one, and there may be no gate.
        router: The router of experts.
        expert_bias: The bias of each expert that the router chooses by, or empty if there is none.
        experts: The prefix of the experts, each below its number.
        expert: Those of an expert.
        router_bias: The bias of the router itself, or empty if there is none.
        stacked: One weight holds all experts, transposed, the numbers of gate and up projection taking turns.
        sinks: The numbers of the heads that take part in the softmax, or empty.
        shared_expert: The expert that all tokens go to.
        shared_expert_gate: The gate of that expert, or empty if there is none.
        norm_bias: The norms have a bias.
        transposed: The matrices are the transposes of Megatron's.
    """

    layer: str = "model.layers"
    embedding: str = "model.embed_tokens.weight"
    positions: str = ""
    norm: str = "model.norm"
    head: str = "lm_head.weight"
    input_norm: str = "input_layernorm"
    mlp_norm: str = "post_attention_layernorm"
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    qk_norms: tuple[str, str] = ("self_attn.q_norm", "self_attn.k_norm")
    latent: tuple[tuple[str, str, str], ...] = (
        ("self_attn.q_a_proj", "self_attn.q_a_layernorm", "self_attn.q_b_proj"),
        ("self_attn.kv_a_proj_with_mqa", "self_attn.kv_a_layernorm", "self_attn.kv_b_proj"),
    )
    attention_output: str = "self_attn.o_proj"
    mlp: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    router: str = "mlp.gate.weight"
    expert_bias: str = ""
    router_bias: str = ""
    stacked: bool = False
    sinks: str = ""
    experts: str = "mlp.experts"
    expert: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    shared_expert: str = "mlp.shared_expert"
    shared_expert_gate: str = "mlp.shared_expert_gate.weight"
    norm_bias: bool = False
    transposed: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of Hugging Face models.

    Attributes:
        name: The ``model_type`` in config.json.
        models: Models of the family that people know, for the documentation.
        made_by: Megatron's arguments that make it, in words.
        architecture: The class in transformers.
        is_marked: Whether Megatron's arguments, by destination, are of this family, if they are of none behind it in
            ``FAMILIES``. A family whose models are all of another one too is marked by nothing: ``--family`` names it.
        arguments: Megatron's arguments that all models of the family share, by destination. True and False stand for
            whatever counts as on and off. A checkpoint with another value is refused by the argument's name.
        plain_heads: Every head has keys and values of its own, and all heads together are as wide as the model.
        config_of: Returns a model's keys of config.json, besides those that every family has.
        defaults: The values that transformers gives to absent keys of config.json, for every key that ``model_of``
            reads. ``tests/convert/families/test_defaults.py`` compares them with the installed transformers.
        model_of: Returns the model of a config.json. Raises RefusedError naming the key that Megatron cannot compute
            with. A key of the file that it does not read is refused afterwards.
        names: The names of the weights.
        only_transformers: The keys of config.json that transformers computes with and nobody else does, each with the
            value that changes nothing. The comparison of an import sets them.
    """

    name: str
    models: str
    made_by: str
    architecture: str
    is_marked: Callable[[Mapping[str, Any]], bool]
    arguments: Mapping[str, Any]
    plain_heads: bool = False
    config_of: Callable[[Model], dict[str, Any]]
    defaults: Mapping[str, Any]
    model_of: Callable[[ConfigKeys], Model]
    names: WeightNames = field(default_factory=WeightNames)
    only_transformers: Mapping[str, Any] = field(default_factory=dict)
