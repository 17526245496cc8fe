"""Refuses Megatron's flags that go only together with others: what it asserts after the ranks have started. Pure."""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.errors import PlanError

_ROTATED = ("rope", "none")
_HALF = ("bf16", "fp16")
_MUON = ("muon", "dist_muon")
_YARN_OF_MLA = {"yarn-beta-fast": 32.0, "yarn-beta-slow": 1.0, "yarn-original-max-position-embeddings": 4096.0}
"""Flag -> the value that multi-latent attention has in megatron-core 0.19, whatever the flag says."""


def refuse_incomplete(flags: Mapping[str, Any], prefix: str) -> None:
    """Refuse flags that Megatron would end on because another one is missing or given.

    Args:
        flags: Flag without its dashes -> value.
        prefix: The prefix of a flag in messages: ``megatron.`` or ``--``.

    Raises:
        PlanError: naming both flags and the fix.
    """

    def on(flag: str) -> bool:
        return flags.get(flag) not in (None, False)

    def refuse(flag: str, why: str, fix: str) -> None:
        raise PlanError(f"{prefix}{flag}: {flags[flag]} {why}.", fix)

    kind = flags.get("position-embedding-type", "learned_absolute")
    if on("use-rotary-position-embeddings"):  # the older name
        kind = "rope"
    if on("mtp-num-layers") and flags["mtp-num-layers"] != 0 and kind not in _ROTATED:
        refuse(
            "mtp-num-layers",
            f"is given with positions of the kind {kind}: layers that predict more tokens need another",
            "set position-embedding-type to rope or none, or remove mtp-num-layers.",
        )
    if on("defer-embedding-wgrad-compute") and flags.get("pipeline-model-parallel-size", 1) in (1, "1"):
        refuse(
            "defer-embedding-wgrad-compute",
            "is given without pipeline stages, between which it would defer",
            "raise pipeline-model-parallel-size, or remove it.",
        )
    if on("optimizer-cpu-offload") and not on("use-precision-aware-optimizer"):
        refuse(
            "optimizer-cpu-offload",
            "is given without use-precision-aware-optimizer, whose state it offloads",
            "add use-precision-aware-optimizer: true, or remove it.",
        )
    sharded = on("use-distributed-optimizer") or on("use-megatron-fsdp")
    for flag in ("use-precision-aware-optimizer", "overlap-param-gather"):
        if on(flag) and not (sharded or (flag == "overlap-param-gather" and flags.get("optimizer") == "dist_muon")):
            refuse(
                flag,
                "is given without use-distributed-optimizer, a part of which it is",
                "add use-distributed-optimizer: true, or remove it.",
            )
    if on("overlap-param-gather") and not on("overlap-grad-reduce"):
        refuse("overlap-param-gather", "is given without overlap-grad-reduce", "add overlap-grad-reduce: true.")
    if on("qk-l2-norm") and flags.get("transformer-impl") == "local" and not on("num-experts"):
        refuse("qk-l2-norm", "would be left out: Megatron's local layers, as on a CPU, have none", "remove it.")
    if flags.get("optimizer") in _MUON and not any(map(on, _HALF)):
        refuse(
            "optimizer",
            "is given for fp32 weights, and megatron-core trains those of half precision with it",
            "add bf16: true, or choose another optimizer.",
        )
    for flag, fixed in _YARN_OF_MLA.items() if on("multi-latent-attention") else ():
        if on(flag) and str(flags[flag]) not in (str(fixed), f"{fixed:g}"):
            refuse(flag, f"would be ignored: Megatron gives multi-latent attention {fixed:g}", f"set {fixed:g}.")
    if flags.get("optimizer") == "lion":
        for flag in ("lion-beta1", "lion-beta2"):
            if on(flag):
                refuse(
                    flag,
                    "would be ignored: Megatron gives --optimizer lion the betas of Adam",
                    f"set {flag.replace('lion', 'adam')} instead.",
                )
    if all(map(on, _HALF)):
        refuse("fp16", "is given beside bf16", "give one of the two.")
