"""A decoder-only model, as convert knows it, between Megatron's arguments and a Hugging Face config.json."""

from dataclasses import dataclass

LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""The values that Megatron fixes for ``--use-rope-scaling`` (rotary_pos_embedding.py)."""

ROPE_FACTOR = 8.0
"""Megatron's default for ``--rope-scaling-factor``. Scripts but lrps' own compute with it whatever the flag says."""
APPLIED_ROPE_FACTOR = "applied_rope_scaling_factor"
"""The argument in a checkpoint that says which other factor the training script computed with."""


@dataclass(frozen=True, kw_only=True)
class Yarn:
    """The YaRN scaling of a rotary embedding.

    Attributes:
        factor: The factor by which the positions were extended.
        original: The number of positions before.
        fast: The number of rotations above which a frequency stays as it is.
        slow: The number of rotations below which a frequency is divided by the factor.
        whole: The range between the two is rounded to whole dimensions.
        mscale: What the logarithm of the factor is multiplied by, where it makes the rotary embedding larger.
        mscale_all_dim: The same for attention scores, which the rotary embedding is then divided by.
    """

    factor: float
    original: int
    fast: float = 32.0
    slow: float = 1.0
    whole: bool = True
    mscale: float = 1.0
    mscale_all_dim: float = 0.0


LATENT_YARN = Yarn(factor=1.0, original=4096)
"""With multi-latent attention, Megatron has flags for the factor and the two ``mscale`` alone. The rest is as here."""


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Multi-latent attention (arXiv 2405.04434): queries, keys and values are made of vectors of fewer numbers.

    Attributes:
        queries: The width of the vector that queries are made of.
        keys: The width of the one that keys and values are made of.
        plain: The part of a head's query and key that does not turn with the position.
        turned: The part that does, which all heads' keys share.
        value: The width of a head's value.
    """

    queries: int
    keys: int
    plain: int
    turned: int
    value: int


CONVOLUTION = 4
"""The positions that the convolution of Megatron's Mamba layers covers."""
MAMBA_EPSILON = 1e-5
"""The epsilon of their norm, whatever that of the other norms is."""


@dataclass(frozen=True, kw_only=True)
class Mamba:
    """Mamba-2 layers (arXiv 2405.21060).

    Attributes:
        heads: The number of heads.
        width: The width of a head.
        state: The numbers that are remembered for each number of a head.
        groups: The number of groups of heads that write and read their states alike.
    """

    heads: int
    width: int
    state: int
    groups: int


@dataclass(frozen=True, kw_only=True)
class Model:
    """A decoder-only model.

    Attributes:
        family: The name of its Hugging Face family, a key of ``FAMILIES``.
        layers: The number of layers.
        hidden: The width of the model.
        ffn: The width of the MLP, or of an expert.
        heads: The number of attention heads.
        groups: The number of key and value heads.
        head_dim: The width of one head.
        vocab: The number of tokens of the tokenizer, without Megatron's padding.
        positions: The length of the longest sequence.
        epsilon: The epsilon of the norms.
        tied: The output layer is the word embedding.
        qkv_bias: The query, key and value projections have biases.
        bias: All linear layers have biases.
        qk_norm: Queries and keys have norms.
        rope_base: The base of the rotary embedding.
        rope_factor: The factor of Llama 3's frequency scaling, or None.
        rope_interpolation: The number that positions are divided by before the rotary embedding, or None.
        yarn: The YaRN scaling of the rotary embedding, or None.
        rope_share: The share of a head's width, from its beginning, that the rotary embedding turns.
        rope_interleaved: It turns neighbouring numbers, not those that are half the width apart.
        ropeless: For each layer, whether it has no rotary embedding; None if all have one.
        window: The number of tokens that a token attends to, itself included, or None.
        windowed: For each layer, whether it has the window; None if all have it.
        experts: The number of experts; 0 for a dense model.
        top_k: The number of experts that a token goes to.
        renormalise: The weights of those experts sum to 1.
        shared_ffn: The width of the expert that all tokens go to; 0 if there is none.
        dense: For each layer, whether it has an MLP and no experts; None if all layers are alike.
        dense_ffn: The width of those MLPs; 0 if there is none.
        sigmoid: The router scores an expert by a sigmoid, and chooses by that plus a bias of the expert.
        routed_scale: The factor of what the chosen experts add.
        expert_groups: The number of groups of experts, and how many of them a token chooses before its experts; None if
            it chooses among all.
        latent: The sizes of multi-latent attention, or None. ``head_dim`` is then that of queries and keys.
        predictions: The number of layers behind the last one that predict further tokens. They stay behind.
        sinks: Each head has a number that takes part in its softmax and attends to nothing.
        glu_clamp: The MLP's gate is a quick GELU, gate and up projection are clamped to this, and 1 is added to the up
            projection; None for SwiGLU.
        ungated: The activation of an MLP without a gate, as transformers calls it: ``gelu``, ``gelu_new`` or ``relu2``;
            empty if it has a gate.
        pattern: The letter of each layer of a hybrid model, as in Megatron's pattern; empty for others, whose layers
            are attention and an MLP.
        mamba: The sizes of its Mamba layers, or None if it has none.
    """

    family: str
    layers: int
    hidden: int
    ffn: int
    heads: int
    groups: int
    head_dim: int
    vocab: int
    positions: int
    epsilon: float
    tied: bool
    qkv_bias: bool = False
    bias: bool = False
    qk_norm: bool = False
    rope_base: float = 10000.0
    rope_factor: float | None = None
    rope_interpolation: int | None = None
    yarn: Yarn | None = None
    rope_share: float = 1.0
    rope_interleaved: bool = False
    ropeless: tuple[bool, ...] | None = None
    window: int | None = None
    windowed: tuple[bool, ...] | None = None
    experts: int = 0
    top_k: int = 0
    renormalise: bool = True
    shared_ffn: int = 0
    dense: tuple[bool, ...] | None = None
    dense_ffn: int = 0
    sigmoid: bool = False
    routed_scale: float = 1.0
    expert_groups: tuple[int, int] | None = None
    latent: Latent | None = None
    predictions: int = 0
    sinks: bool = False
    glu_clamp: float | None = None
    ungated: str = ""
    pattern: str = ""
    mamba: Mamba | None = None
