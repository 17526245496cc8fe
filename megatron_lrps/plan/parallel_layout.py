"""Refuses parallel layouts that cannot train a plan: the divisions that Megatron asserts, by the plan's keys. Pure.

Megatron would report these errors only hours later, in a job. A value that is not understood here (``num-layers:
many``, a layout given as a string of letters) is left to Megatron, which `lrps plan --check-layout` runs.
"""

from dataclasses import dataclass
from math import gcd

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.flags import DEFAULTS
from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.plan.model import Plan

TP, PP, CP = "tensor-model-parallel-size", "pipeline-model-parallel-size", "context-parallel-size"
EP, ETP = "expert-model-parallel-size", "expert-tensor-parallel-size"
_RANKS = "launch.local.processes, or nodes x gpus_per_node of launch.slurm"
_OWN_GRIDS = ("tensor-parallel-num-weight-shards", "gtp-weight-remat-size", "hybrid-context-parallel")
"""Flags that divide the ranks by further sizes."""
_OWN_LAYERS = ("hybrid-layer-pattern", "hybrid-override-pattern", "heterogeneous-layers-config-path")
"""Flags of models with different kinds of layers."""
_UNEVEN = ("pipeline-model-parallel-layout", "decoder-first-pipeline-num-layers", "decoder-last-pipeline-num-layers")
VIRTUAL = ("num-layers-per-virtual-pipeline-stage", "num-virtual-stages-per-pipeline-rank")
_ADDED_LAYERS = ("account-for-embedding-in-pipeline-split", "account-for-loss-in-pipeline-split")


def ranks_of(plan: Plan) -> int:
    """Return the plan's world size, from ``launch.slurm`` if given, else from ``launch.local``."""
    slurm = plan.launch.slurm
    return slurm.nodes * slurm.gpus_per_node if slurm else plan.launch.local.processes


def refuse_impossible_layout(plan: Plan, ranks: int) -> None:
    """Refuse a layout that Megatron cannot train on this number of ranks.

    Args:
        plan: The plan.
        ranks: The world size to train on, from ``ranks_of`` or ``launch.local.processes``.

    Raises:
        PlanError: naming the keys, their values and the fix. Values that are not understood are left to Megatron.
    """
    flags = _Flags({**DEFAULTS, **plan.megatron})
    sizes = [flags.size(flag, 1) for flag in (TP, PP, CP)]
    if None in sizes:
        return
    tp, pp, cp = (size or 1 for size in sizes)
    _check_heads(flags, tp)
    _check_layers(flags, pp)
    _check_sequence(plan, flags, tp, cp)
    _check_experts(flags, tp)
    if not flags.any(_OWN_GRIDS):
        _check_ranks(plan, flags, ranks, (tp, pp, cp))


@dataclass(frozen=True)
class _Flags:
    given: dict[str, FlagValue]

    def size(self, flag: str, default: int | None = None) -> int | None:
        """Return a flag's value if it is a whole number above 0, else None; ``default`` if it is not given."""
        value = self.given.get(flag)
        if value is None:
            return default
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None

    def on(self, flag: str) -> bool:
        return self.given.get(flag) is True

    def any(self, flags: tuple[str, ...]) -> bool:
        return any(self.given.get(flag) not in (None, False) for flag in flags)


def _check_ranks(plan: Plan, flags: _Flags, ranks: int, parallel: tuple[int, int, int]) -> None:
    """Check that ranks divide by the model's parts, the global batch by replicas, and the experts' grid."""
    tp, pp, cp = parallel
    parts = tp * pp * cp
    named = [f"megatron.{flag} {size}" for flag, size in zip((TP, PP, CP), parallel, strict=True) if size > 1]
    if ranks % parts:
        product = f"{' x '.join(named)} = {parts}" if len(named) > 1 else named[0]
        raise PlanError(
            f"{product}, but there {_are(ranks, 'rank')}, which is not a multiple of {parts}.",
            f"change these sizes, or let the ranks ({_RANKS}) be a multiple of {parts}.",
        )
    replicas = ranks // parts
    micro = flags.size("micro-batch-size")
    if micro is not None:
        for each in plan.batches.stretches:
            _check_batch(each.batch, ranks, parts, micro, plan.batches.rises)
    group = flags.size("microbatch-group-size-per-virtual-pipeline-stage", pp)
    if micro is not None and group and _virtual(flags, pp):
        for each in plan.batches.stretches:
            if few := few_microbatches(each.batch // (micro * replicas), pp, group):
                raise PlanError(few, "change global_batch_size, micro-batch-size or DP, or drop the virtual stages.")
    optimizers = flags.size("num-distributed-optimizer-instances", 1)
    if optimizers and replicas * cp % optimizers:
        raise PlanError(
            f"megatron.num-distributed-optimizer-instances: {optimizers} does not divide DP x CP = {replicas * cp}.",
            "choose one that does.",
        )
    expert, expert_tensor = flags.size(EP, 1), flags.size(ETP, tp)
    if expert and expert_tensor and flags.size("num-experts") and ranks % (expert * expert_tensor * pp):
        raise PlanError(
            f"megatron.{EP} {expert} x expert tensor parallel {expert_tensor} x {PP} {pp} = "
            f"{expert * expert_tensor * pp}, but there {_are(ranks, 'rank')}, which is not a multiple of it.",
            f"change these sizes (megatron.{ETP} is TP where it is not given), or the ranks ({_RANKS}).",
        )


def _check_batch(batch: int, ranks: int, parts: int, micro: int, rises: bool) -> None:
    """Check that a batch divides into the micro-batches of all replicas."""
    replicas = ranks // parts
    if batch % (micro * replicas) == 0:
        return
    what = "a step of the batch" if rises else "global_batch_size"
    below, above = batch // (micro * replicas) * micro * replicas, -(-batch // (micro * replicas))
    near = [str(each) for each in (below, above * micro * replicas) if each]
    smaller = gcd(batch // replicas, micro) if batch % replicas == 0 else None
    raise PlanError(
        f"{what}: {batch} is not a multiple of micro-batch-size {micro} x {replicas} data-parallel "
        f"replicas ({ranks} ranks of TP x PP x CP = {parts}).",
        f"set {'it' if rises else 'global_batch_size'} to {' or '.join(near)}"
        + (f", megatron.micro-batch-size to {smaller}" if smaller else "")
        + ", or change the number of ranks.",
    )


def _check_heads(flags: _Flags, tp: int) -> None:
    hidden, heads = flags.size("hidden-size"), flags.size("num-attention-heads")
    if hidden and heads and "kv-channels" not in flags.given and hidden % heads:
        raise PlanError(
            f"megatron.hidden-size: {hidden} is not a multiple of num-attention-heads {heads}.",
            "choose heads that divide hidden-size, or give kv-channels.",
        )
    if heads and heads % tp:
        raise PlanError(
            f"megatron.num-attention-heads: {heads} is not a multiple of {TP} {tp}.",
            f"choose a {TP} that divides num-attention-heads.",
        )
    groups = flags.size("num-query-groups") if flags.on("group-query-attention") else None
    if groups and groups % tp and tp % groups:
        raise PlanError(
            f"megatron.num-query-groups: {groups} is neither a multiple nor a divisor of {TP} {tp}.",
            "let one of the two divide the other.",
        )
    if heads and groups and heads % groups:
        raise PlanError(
            f"megatron.num-attention-heads: {heads} is not a multiple of num-query-groups {groups}.",
            "choose query groups that divide the heads.",
        )
    ffn = flags.size("ffn-hidden-size")
    if "ffn-hidden-size" not in flags.given and hidden:  # Megatron's default
        ffn = int(4 * hidden * 2 / 3 / 64) * 64 if flags.on("swiglu") else 4 * hidden
    if ffn and "num-experts" not in flags.given and ffn % tp:
        raise PlanError(
            f"megatron.ffn-hidden-size: {ffn} is not a multiple of {TP} {tp}.", f"choose one that {tp} divides."
        )


def _check_layers(flags: _Flags, pp: int) -> None:
    given = [flag for flag in (*VIRTUAL, _UNEVEN[0]) if flags.any((flag,))]
    if len(given) > 1:
        raise PlanError(f"megatron.{given[0]} is given beside {given[1]}.", "give one of them.")
    layers, added = flags.size("num-layers"), [flag for flag in _ADDED_LAYERS if flags.on(flag)]
    virtual = _virtual(flags, pp)
    least = 3 if flags.on("no-overlap-p2p-communication") else 2
    if virtual and pp < least:
        raise PlanError(
            f"megatron.{virtual[0]}: {flags.given[virtual[0]]} makes virtual stages, but {PP} is {pp}"
            f"{' with no-overlap-p2p-communication' if least == 3 else ''}.",
            f"let {PP} be {least} or more, or remove {virtual[0]}.",
        )
    if layers is None or flags.any(_UNEVEN) or flags.any(_OWN_LAYERS):
        return
    shown = f"{layers}{''.join(f' + 1 ({flag})' for flag in added)}"
    layers += len(added)
    if layers % pp:
        raise PlanError(
            f"megatron.num-layers: {shown} is not a multiple of {PP} {pp}.",
            f"choose a {PP} that divides it, or say where the layers lie by decoder-first-pipeline-num-layers.",
        )
    for flag in virtual:
        size = flags.size(flag)
        if size and layers // pp % size:
            raise PlanError(
                f"megatron.{flag}: {size} does not divide the {layers // pp} layers of a stage "
                f"(num-layers {shown}, {PP} {pp}).",
                "choose one that does.",
            )


def _virtual(flags: _Flags, pp: int) -> list[str]:
    """Return the flag that makes virtual stages, if any: a stage with all layers of its rank is not virtual."""
    layers, each = flags.size("num-layers"), flags.size(VIRTUAL[0])
    whole = layers and each and each * pp == layers + sum(flags.on(flag) for flag in _ADDED_LAYERS)
    return [] if whole or flags.size(VIRTUAL[1]) == 1 else [flag for flag in VIRTUAL if flags.any((flag,))]


def few_microbatches(count: int, stages: int, group: int) -> str:
    """Return why virtual stages cannot train this number of micro-batches; empty if they can.

    Args:
        count: Micro-batches per pipeline and iteration.
        stages: Pipeline stages, without the virtual ones.
        group: Micro-batches that a virtual stage takes at a time.
    """
    if count >= group and not 0 < count % group < stages:
        return ""
    return (
        f"Each pipeline has {count} micro-batches an iteration, and virtual stages take them in groups of {group}: "
        f"there must be {group} or more, and a rest of none or of {stages} or more."
    )


def _check_sequence(plan: Plan, flags: _Flags, tp: int, cp: int) -> None:
    length = plan.sequence_length
    if cp > 1 and length % (2 * cp):
        raise PlanError(
            f"sequence_length: {length} is not a multiple of 2 x {CP} {cp}.", f"choose a multiple of {2 * cp}."
        )
    if tp > 1 and flags.on("sequence-parallel") and length // cp % tp:
        raise PlanError(
            f"sequence_length: {length} {f'/ {CP} {cp} ' if cp > 1 else ''}is not a multiple of {TP} {tp}, and "
            "sequence-parallel cuts it so.",
            "choose one that is, or remove sequence-parallel.",
        )
    if flags.on("tp-comm-overlap") and not (tp > 1 and flags.on("sequence-parallel")):
        raise PlanError(
            f"megatron.tp-comm-overlap is given without sequence-parallel and {TP} above 1 (it is {tp}).",
            "add them, or remove tp-comm-overlap.",
        )


def _check_experts(flags: _Flags, tp: int) -> None:
    experts, parallel = flags.size("num-experts"), flags.size(EP, 1)
    if parallel is None or (experts is None and flags.any(("num-experts",))):
        return
    if experts is None:
        if parallel > 1:
            raise PlanError(
                f"megatron.{EP}: {parallel} is given without num-experts.", "remove it, or add num-experts."
            )
        return
    if experts % parallel:
        raise PlanError(
            f"megatron.num-experts: {experts} is not a multiple of {EP} {parallel}.",
            f"choose an {EP} that divides num-experts.",
        )
    if tp > 1 and not flags.on("sequence-parallel"):
        raise PlanError(
            f"megatron.num-experts: {experts} with {TP} {tp}, but without sequence-parallel.",
            "add `sequence-parallel: true`: Megatron trains experts under tensor parallelism with it alone.",
        )


def _are(count: int, what: str) -> str:
    return f"is {count} {what}" if count == 1 else f"are {count} {what}s"
