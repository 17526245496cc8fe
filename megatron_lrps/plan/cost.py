"""The cost of a campaign: iterations compared with PTFS and CPT, GPU-hours, and checkpoint storage. Pure."""

from dataclasses import dataclass

from megatron_lrps.plan.flags import DEFAULTS
from megatron_lrps.plan.model import Plan
from megatron_lrps.plan.paths import Tree
from megatron_lrps.plan.version_source import VersionSource, iterations_for, samples_for, sources_of
from megatron_lrps.plan.vocabulary import Vocabulary, vocabulary_by_plan, whole


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The iterations of all versions together.

    Attributes:
        planned: The iterations that the paths of the plan train (the sum over its paradigms), cuts included.
        lrps: The iterations by path switching, or None if the plan has no such paths. Here and below, cuts do not
            count: they are versions besides the planned ones, which nobody would retrain from scratch.
        ptfs: The iterations by retraining every version from scratch on all data so far, those of an adopted run too.
        cpt: The iterations by continuing from the last version on new data; the first one from an adopted run, if
            there is one.
        samples: The same in samples, by the same names: where the batch rises, iterations cost more and more.
    """

    planned: int
    lrps: int | None
    ptfs: int
    cpt: int
    samples: dict[str, int | None]

    @property
    def share_of_ptfs(self) -> float | None:
        """lrps / ptfs, in samples: 0.58 for four equal versions with alpha 0.6 (arXiv 2410.04103)."""
        return self.share_of("lrps")

    def share_of(self, way: str) -> float | None:
        """The samples by ``way`` (planned, lrps, ptfs, cpt) as a share of those by PTFS."""
        of_it, by_ptfs = self.samples[way], self.samples["ptfs"]
        return None if of_it is None or by_ptfs is None else of_it / by_ptfs


def cost_of(tree: Tree) -> Cost:
    """Return the cost of a tree's campaign, and of the same versions by the other paradigms."""
    ends = [end for _, end in tree.planned_ends]
    has_lrps = any(path.paradigm == "lrps" for path in tree.paths)
    samples = tree.batches.samples
    return Cost(
        planned=sum(path.iterations for path in tree.paths),
        lrps=planned_iterations(tree, "lrps") if has_lrps else None,
        ptfs=sum(ends),
        cpt=ends[-1] - tree.adopted_iterations,
        samples={
            "planned": sum(tree.samples(path) for path in tree.paths),
            "lrps": planned_samples(tree, "lrps") if has_lrps else None,
            "ptfs": sum(samples(end) for end in ends),
            "cpt": samples(ends[-1]) - samples(tree.adopted_iterations),
        },
    )


def planned_iterations(tree: Tree, paradigm: str) -> int:
    """Return the iterations of a paradigm for the planned versions, without cuts; all listed paths count."""
    return tree.iterations(paradigm) if paradigm == "explicit" else iterations_for(tree, _planned(tree, paradigm))


def planned_samples(tree: Tree, paradigm: str) -> int:
    """Return the samples of the iterations that ``planned_iterations`` counts."""
    return tree.all_samples(paradigm) if paradigm == "explicit" else samples_for(tree, _planned(tree, paradigm))


def _planned(tree: Tree, paradigm: str) -> list[VersionSource]:
    cuts = {cut.name for cut in tree.plan.cuts}
    return [each for each in sources_of(tree) if each.paradigm == paradigm and each.version not in cuts]


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A GPT's size, computed from its Megatron flags.

    Attributes:
        parameters: The number of weights, embeddings included.
        flops_per_sample: Floating-point operations of the forward and backward pass of one sample.
        vocabulary: The vocabulary that it was computed with.
        checkpoint_bytes: The size of one save.
    """

    parameters: int
    flops_per_sample: float
    vocabulary: Vocabulary
    checkpoint_bytes: int


def model_size(plan: Plan, vocabulary: Vocabulary | None = None) -> ModelSize | None:
    """Return the model's size; None if the plan lacks num-layers or hidden-size, or has experts or MLA.

    Counts dense GPTs: matrix products of attention (QKV, scores, context, projection), MLP and logits, with
    2 operations per multiply-add, times three for forward and backward.

    Args:
        plan: The plan.
        vocabulary: The vocabulary of its tokenizer (``data.tokenizer_size``). None uses the plan alone.
    """
    flags = plan.megatron
    layers, hidden = whole(flags.get("num-layers")), whole(flags.get("hidden-size"))
    if layers is None or hidden is None or any(flags.get(flag) for flag in _OTHER_MODELS):
        return None
    heads = whole(flags.get("num-attention-heads")) or max(1, hidden // 128)
    groups = whole(flags.get("num-query-groups")) if flags.get("group-query-attention") else None
    channels = whole(flags.get("kv-channels")) or hidden // heads
    # Megatron's own defaults: with SwiGLU's third matrix the MLP is made two thirds as wide.
    default = int(4 * hidden * 2 / 3 / 64) * 64 if flags.get("swiglu") else 4 * hidden
    ffn = whole(flags.get("ffn-hidden-size")) or default
    vocabulary = vocabulary or vocabulary_by_plan(plan)
    projection = heads * channels
    attention = hidden * (projection + 2 * (groups or heads) * channels) + projection * hidden
    mlp = hidden * ffn * (3 if flags.get("swiglu") else 2)
    weights = layers * (attention + mlp)
    embeddings = vocabulary.size * hidden * (2 if flags.get("untie-embeddings-and-output-weights") else 1)
    sequence = plan.sequence_length
    # Causal attention computes half of the sequence x sequence scores, in QK^T and in its product with V.
    scores = layers * 2 * projection * sequence / 2
    flops = 3 * 2 * sequence * (weights + scores + vocabulary.size * hidden)
    parameters = weights + embeddings + 2 * layers * hidden + hidden
    return ModelSize(
        parameters=parameters,
        flops_per_sample=flops,
        vocabulary=vocabulary,
        checkpoint_bytes=parameters * bytes_per_parameter(plan),
    )


def gpu_hours(samples: int, size: ModelSize, tflops: float) -> float:
    """Return the GPU-hours of ``samples`` at ``tflops`` achieved per GPU (1e12 operations per second)."""
    return samples * size.flops_per_sample / (tflops * 1e12) / 3600


def campaign_gpu_hours(tree: Tree, vocabulary: Vocabulary, tflops: float) -> float:
    """Return the GPU-hours of all paths, each by its own sequence length; 0 for a model of unknown size."""
    hours = 0.0
    for path in tree.paths:
        plan = tree.plan_of(path)
        if (size := model_size(plan, vocabulary)) is not None:
            hours += gpu_hours(tree.samples(path), size, tflops)
    return hours


def bytes_per_parameter(plan: Plan) -> int:
    """Return the bytes per parameter in a torch_dist checkpoint.

    The weight (2 bytes in bf16 and fp16, else 4), two moments of Adam or one of SGD (4 each), and an fp32 master weight
    (4) if the weights are in half precision or the optimizer is distributed, which has its own copy of fp32 weights
    too. The savings of a precision-aware optimizer are not counted.
    """
    flags = plan.megatron
    half = bool(flags.get("bf16") or flags.get("fp16"))
    weights = 2 if half else 4
    if flags.get("no-save-optim"):
        return weights
    moments = 1 if flags.get("optimizer") == "sgd" else 2
    return weights + 4 * (moments + (half or bool(flags.get("use-distributed-optimizer"))))


def checkpoints_kept(tree: Tree) -> int:
    """Return the number of checkpoints that must stay: fork points, ends, and the parts of one merge at a time."""
    points = {(path.name, path.end) for path in tree.paths}
    points |= {(path.name, fork) for path in tree.paths for fork in tree.fork_points(path.name)}
    parts = [{(part.path, part.iteration) for part in path.mean} - points for path in tree.paths]
    return len(points) + max(map(len, parts))


@dataclass(frozen=True, kw_only=True)
class MergeSaves:
    """The checkpoints that the paths save for merges.

    Attributes:
        checkpoints: How many there are; one that two versions share counts once.
        besides: How many of them no other rule would save: they are neither forks nor ends, nor in ``save_interval``.
        save_interval: Megatron's ``save-interval``, iterations.
    """

    checkpoints: int
    besides: int
    save_interval: int


def merge_saves(tree: Tree) -> MergeSaves | None:
    """Return how often merges make a path save, or None where nothing is merged or ``save-interval`` is no number."""
    every = tree.plan.megatron.get("save-interval", DEFAULTS["save-interval"])
    parts = {(part.path, part.iteration) for path in tree.paths if path.kind == "merge" for part in path.mean}
    if not parts or not isinstance(every, int) or every < 1:
        return None
    ends = {(path.name, path.end) for path in tree.paths}
    forks = {(path.parent, path.fork) for path in tree.paths if not path.mean}
    besides = [iteration for _, iteration in parts - ends - forks if iteration % every]
    return MergeSaves(checkpoints=len(parts), besides=len(besides), save_interval=every)


_OTHER_MODELS = ("num-experts", "multi-latent-attention", "hybrid-layer-pattern", "hybrid-override-pattern")
"""Flags of models whose size the dense-GPT formula would get wrong: no figure is better than a wrong one."""
