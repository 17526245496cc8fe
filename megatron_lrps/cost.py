"""What a campaign costs: iterations against PTFS and CPT, GPU-hours, and checkpoint storage. Pure."""

from dataclasses import dataclass

from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.tree import Tree


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Iterations of all versions together.

    Attributes:
        planned: What the plan's own paths train (the sum over its paradigms), cuts included.
        lrps: By path switching, or None where the plan has no such paths. Cuts do not count here and below: they are
            versions besides the planned ones, which nobody would retrain from scratch.
        ptfs: By retraining every version from scratch on all data so far.
        cpt: By continuing from the last version on new data.
    """

    planned: int
    lrps: int | None
    ptfs: int
    cpt: int

    @property
    def share_of_ptfs(self) -> float | None:
        """lrps / ptfs: 0.58 for four equal versions with alpha 0.6 (arXiv 2410.04103)."""
        return None if self.lrps is None else self.lrps / self.ptfs


def cost_of(tree: Tree) -> Cost:
    """Cost of a tree's campaign, and of the same versions by the other paradigms."""
    ends = [end for _, end in tree.planned_releases]
    has_lrps = any(path.paradigm == "lrps" for path in tree.paths)
    return Cost(
        planned=sum(path.iterations for path in tree.paths),
        lrps=tree.planned_iterations("lrps") if has_lrps else None,
        ptfs=sum(ends),
        cpt=ends[-1],
    )


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A GPT's size from its Megatron flags.

    Attributes:
        parameters: All weights, embeddings included.
        flops_per_sample: Floating-point operations of one sample's forward and backward pass.
    """

    parameters: int
    flops_per_sample: float


def model_size(plan: Plan) -> ModelSize | None:
    """The model's size, or None where the plan does not name num-layers and hidden-size, or has experts or MLA.

    Counts dense GPTs: matrix products of attention (QKV, scores, context, projection), MLP and logits, each
    2 operations a multiply-add, three passes' worth; the vocabulary is taken as 32,768 where unknown.
    """
    flags = plan.megatron
    layers, hidden = _whole(flags.get("num-layers")), _whole(flags.get("hidden-size"))
    if layers is None or hidden is None or any(flags.get(flag) for flag in _OTHER_MODELS):
        return None
    heads = _whole(flags.get("num-attention-heads")) or max(1, hidden // 128)
    groups = _whole(flags.get("num-query-groups")) if flags.get("group-query-attention") else None
    channels = _whole(flags.get("kv-channels")) or hidden // heads
    # Megatron's own defaults: with SwiGLU's third matrix the MLP is made two thirds as wide.
    default = int(4 * hidden * 2 / 3 / 64) * 64 if flags.get("swiglu") else 4 * hidden
    ffn = _whole(flags.get("ffn-hidden-size")) or default
    vocabulary = (plan.tokenizer and plan.tokenizer.size) or _whole(flags.get("vocab-size")) or 32768
    projection = heads * channels
    attention = hidden * (projection + 2 * (groups or heads) * channels) + projection * hidden
    mlp = hidden * ffn * (3 if flags.get("swiglu") else 2)
    weights = layers * (attention + mlp)
    embeddings = vocabulary * hidden * (2 if flags.get("untie-embeddings-and-output-weights") else 1)
    sequence = plan.sequence_length
    # Causal attention computes half of the sequence x sequence scores, in QK^T and in its product with V.
    scores = layers * 2 * projection * sequence / 2
    flops = 3 * 2 * sequence * (weights + scores + vocabulary * hidden)
    return ModelSize(parameters=weights + embeddings + 2 * layers * hidden + hidden, flops_per_sample=flops)


def gpu_hours(iterations: int, plan: Plan, size: ModelSize, tflops: float) -> float:
    """GPU-hours of ``iterations`` at ``tflops`` achieved per GPU (1e12 operations a second)."""
    return iterations * plan.global_batch_size * size.flops_per_sample / (tflops * 1e12) / 3600


BYTES_PER_PARAMETER = 14
"""A torch_dist checkpoint: bf16 weights (2), fp32 master weights and two Adam moments (12)."""


def checkpoints_kept(tree: Tree) -> int:
    """Checkpoints that must stay: every fork point, and every path's end."""
    points = {(path.name, path.end) for path in tree.paths}
    points |= {(path.name, fork) for path in tree.paths for fork in tree.fork_points(path.name)}
    return len(points)


_OTHER_MODELS = ("num-experts", "multi-latent-attention", "hybrid-layer-pattern", "hybrid-override-pattern")
"""Flags of models whose size the formula for dense GPTs would get wrong: no figure is better than a wrong one."""


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
