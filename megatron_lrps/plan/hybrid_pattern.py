"""The pattern of a hybrid model, a letter for each layer (``*-*E``): what Megatron would fail at or ignore. Pure.

A plan with ``hybrid-layer-pattern`` trains Megatron's HybridModel (MambaModel in 0.17) in place of GPTModel.
"""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.errors import PlanError

PATTERNS = ("hybrid-layer-pattern", "hybrid-override-pattern")
"""The flag, and its older name."""
ATTENTION, MLA, MLP, EXPERTS, MAMBA, DELTA_NET, SPARSE = "*+-EMGD"
PACKAGES: Mapping[str, tuple[str, str]] = {
    MAMBA: ("mamba_ssm", "mamba-ssm"),
    DELTA_NET: ("fla", "flash-linear-attention"),
}
"""Letter of a layer -> module and distribution of the package that computes it on a GPU."""
CPU_PACKAGES: Mapping[str, tuple[str, str]] = {MAMBA: ("einops", "einops")}
"""The same on a CPU, where the CPU backend computes it."""
GPU_LAYERS: Mapping[str, str] = {
    DELTA_NET: "a gated delta net, whose kernels (flash-linear-attention) are for GPUs",
    SPARSE: "DeepSeek's sparse attention, which needs Transformer Engine",
}
"""Letter of a layer that no CPU trains -> what it is."""
STAGE, PREDICTION = "|/"
_LAYERS = (ATTENTION, MLA, MLP, EXPERTS, MAMBA, DELTA_NET, SPARSE)
_STAGES = "the sign | in the pattern says where a stage begins"
_KINDS = "the pattern says of what kind each layer is"
_UNREAD: Mapping[str, str] = {
    "use-rope-scaling": "HybridModel rotates positions without it",
    "moe-layer-freq": _KINDS,
    "linear-attention-freq": _KINDS,
    "experimental-attention-variant": _KINDS,
    "heterogeneous-layers-config-path": _KINDS,
    "overlap-moe-expert-parallel-comm": "HybridModel cannot overlap it",
    "num-layers-per-virtual-pipeline-stage": _STAGES,
    "num-virtual-stages-per-pipeline-rank": _STAGES,
    "pipeline-model-parallel-layout": _STAGES,
    "account-for-embedding-in-pipeline-split": _STAGES,
    "account-for-loss-in-pipeline-split": _STAGES,
}
"""Flag that a hybrid model does not read -> why."""
_NORMS = ("qk-layernorm", "qk-l2-norm")
"""Flags that Megatron's own latent and sparse attention of hybrid models do not read; layers of ``spec`` may."""


def pattern_of(flags: Mapping[str, Any]) -> str | None:
    """Return the pattern of a hybrid model; None if the flags are of another one."""
    given = [flags[flag] for flag in PATTERNS if isinstance(flags.get(flag), str)]
    return given[0] if given else None


def refuse_wrong_pattern(flags: Mapping[str, Any], prefix: str, *, cpu: bool) -> None:
    """Refuse a pattern that Megatron would fail at, and flags beside it that it would ignore.

    Args:
        flags: Flag without its dashes -> value.
        prefix: The prefix of a flag in messages: ``megatron.`` or ``--``.
        cpu: Whether the CPU backend is to train it.

    Raises:
        PlanError: naming the flag, its value and the fix.
    """
    pattern = pattern_of(flags)
    if pattern is None:
        return
    name = next(flag for flag in PATTERNS if flags.get(flag) is not None)

    def refuse(why: str, fix: str) -> None:
        raise PlanError(f"{prefix}{name}: {pattern} {why}.", f"{fix}.")

    if all(flags.get(flag) is not None for flag in PATTERNS):
        refuse(f"is given beside {PATTERNS[1]}, the older name of the same flag", "give one of the two")
    main, *predictions = pattern.split(PREDICTION)
    layers = main.replace(STAGE, "")
    if unknown := sorted({*layers, *"".join(predictions)} - {*_LAYERS}):
        refuse(f"has {unknown[0]!r}, which is no kind of layer", f"use the letters {' '.join(_LAYERS)}")
    if not layers:
        refuse("has no layers", f"write a letter for each: {' '.join(_LAYERS)}")
    if ATTENTION in layers and ({*layers} & {MLA, SPARSE}):
        refuse(f"has {ATTENTION} and {MLA} or {SPARSE}, and one model has one kind of attention", "use one of them")
    if len({*predictions}) > 1:
        refuse("predicts further tokens with different layers", f"let all parts after {PREDICTION} be the same")
    _refuse_layers(flags, layers, len(predictions), refuse)
    if MAMBA in pattern:
        _refuse_mamba(flags, prefix)
    _refuse_stages(flags, main, refuse)
    unread = [*_UNREAD, *(_NORMS if {*layers} & {MLA, SPARSE} and not flags.get("spec") else ())]
    if (other := next((flag for flag in unread if _is_on(flags.get(flag))), None)) is not None:
        why = _UNREAD.get(other, f"hybrid layers {MLA} and {SPARSE} have no such norm")
        raise PlanError(f"{prefix}{other}: {flags[other]} would not be honoured beside {name}: {why}.", "remove it.")
    here = next((kind for kind in GPU_LAYERS if kind in pattern), None)
    if cpu and here is not None:
        refuse(f"needs a GPU: {here} is {GPU_LAYERS[here]}", "use other layers, or set launch.device: gpu")


def _is_on(value: Any) -> bool:
    return value is True or value not in (None, False, 1)  # 1 is Megatron's default frequency


def _refuse_layers(flags: Mapping[str, Any], layers: str, predictions: int, refuse: Any) -> None:
    number = flags.get("num-layers")
    if isinstance(number, int) and number != len(layers):
        refuse(f"has {len(layers)} layers, and num-layers is {number}", "remove num-layers")
    asked = flags.get("mtp-num-layers")
    if isinstance(asked, int) and asked != predictions:
        refuse(
            f"has {predictions} parts that predict further tokens, and mtp-num-layers is {asked}",
            f"write each after a {PREDICTION}, such as {layers}{'/*-' * asked}, and remove mtp-num-layers",
        )
    experts = flags.get("num-experts") is not None
    if experts != (EXPERTS in layers):
        there, missing = ("num-experts is given", f"no layer {EXPERTS}") if experts else (EXPERTS, "no num-experts")
        refuse(f"has {missing}" if experts else f"has {there}, and there is {missing}", "give both or none of them")


def mamba_heads(hidden: int, width: int) -> int:
    """Return the number of heads of a Mamba layer if none is given: together they are twice as wide as the model.

    Args:
        hidden: The width of the model.
        width: The width of a head.
    """
    return 2 * hidden // width


def _refuse_mamba(flags: Mapping[str, Any], prefix: str) -> None:
    """Refuse sizes of Mamba layers that do not divide each other; Megatron makes 2 x the width of heads if not told."""
    width, groups = flags.get("mamba-head-dim", 64), flags.get("mamba-num-groups", 8)
    heads, tensor = flags.get("mamba-num-heads"), flags.get("tensor-model-parallel-size", 1)
    if heads is None:
        hidden = flags.get("hidden-size")
        if not isinstance(hidden, int) or not isinstance(width, int) or width < 1:
            return
        if 2 * hidden % width:
            raise PlanError(
                f"{prefix}mamba-head-dim: {width} does not divide 2 x hidden-size, {2 * hidden}.",
                "change it, or give mamba-num-heads.",
            )
        heads = mamba_heads(hidden, width)
    if not all(isinstance(each, int) and each > 0 for each in (heads, groups, tensor)):
        return
    for flag, number, by, divisor in (
        ("mamba-num-heads", heads, "mamba-num-groups", groups),
        ("mamba-num-heads", heads, "tensor-model-parallel-size", tensor),
        ("mamba-num-groups", groups, "tensor-model-parallel-size", tensor),
    ):
        if number % divisor:
            default = "" if flag in flags else ", as Megatron has it here,"
            raise PlanError(
                f"{prefix}{flag}: {number}{default} is no multiple of {by} {divisor}.", f"change {flag} or {by}."
            )


def _refuse_stages(flags: Mapping[str, Any], main: str, refuse: Any) -> None:
    stages = flags.get("pipeline-model-parallel-size", 1)
    if not isinstance(stages, int) or stages < 1:
        return
    parts = main.split(STAGE)
    uneven = any(flags.get(f"decoder-{end}-pipeline-num-layers") is not None for end in ("first", "last"))
    if len(parts) > 1 and uneven:
        refuse("says where stages begin", "remove decoder-first-pipeline-num-layers and decoder-last-...")
    if len(parts) > 1 and len(parts) % stages:
        refuse(f"has {len(parts)} stages, no multiple of pipeline-model-parallel-size {stages}", f"change its {STAGE}")
    if len(parts) == 1 and len(main) % stages and not uneven:
        refuse(
            f"has {len(main)} layers, no multiple of pipeline-model-parallel-size {stages}",
            f"put a {STAGE} where each stage begins",
        )
