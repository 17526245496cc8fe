"""The scores of a version cut today: a mean of the main path's latest checkpoints, scored while main trains on.

In: a campaign, main's checkpoints to merge, and their weights. Out: the merged checkpoint, and
its perplexity on every validation set beside that of main as it stands.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.convert.weighted_mean import plan_mean, write_mean
from megatron_lrps.data.prepare.encoders.spec import spec_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate.perplexity import scored
from megatron_lrps.evaluate.validation_tokens import sets_of
from megatron_lrps.schedule.paradigms import MAIN


@dataclass(frozen=True, kw_only=True)
class Score:
    """The perplexity on a validation set; None if it is no finite number.

    Attributes:
        name: The set.
        main: The perplexity of main's newest checkpoint.
        merged: The perplexity of the mean.
    """

    name: str
    main: float | None
    merged: float | None


def checkpoints_to_merge(campaign: Campaign, *, share: float, count: int) -> list[Checkpoint]:
    """Return main's whole checkpoints over its last share of training, oldest first, evenly thinned to ``count``.

    Raises:
        RefusedError: There are fewer than two.
    """
    saved = Checkpoints.in_folder(campaign.folder.path(campaign.path(MAIN).name).checkpoints)
    whole = [each for each in map(saved.at, saved.complete) if each.is_whole]
    if not whole:
        raise RefusedError("Main has saved no checkpoint yet.", "train it first: lrps run PLAN --path main.")
    newest = whole[-1].iteration
    since = newest - share * newest
    found = [each for each in whole if each.iteration > since]
    if len(found) < 2:
        raise RefusedError(
            f"Main has one checkpoint in the last {share:.0%} of its {newest:,} iterations, and a mean needs two.",
            "give a wider --window, or let main save more often (megatron.save-interval).",
        )
    if len(found) <= count:
        return found
    step = (len(found) - 1) / (count - 1)
    return [found[round(place * step)] for place in range(count)]


def preview(
    campaign: Campaign,
    checkpoints: Sequence[Checkpoint],
    *,
    weights: Sequence[float],
    limit: int | None,
    output: Path | None,
    say: Callable[[str], None],
) -> list[Score]:
    """Merge the checkpoints, and score the mean and main's newest checkpoint by Megatron on the CPU.

    Args:
        campaign: The campaign.
        checkpoints: Main's, oldest first.
        weights: One for each checkpoint.
        limit: The most tokens of a validation set, or None.
        output: The ``--save`` folder that keeps the merged checkpoint; without it nothing is kept.
        say: Called with progress messages.

    Returns:
        The score on each set.

    Raises:
        RefusedError: A checkpoint is damaged or of another model, or a validation set is missing.
        StorageError: There is no room, or the disk fails.
    """
    tree, newest = campaign.tree, checkpoints[-1]
    sets, absent = sets_of(tree, tree.path(MAIN))
    for name in absent:
        say(f"{name} is not there yet and is left out")
    mean = plan_mean(checkpoints, weights)
    with tempfile.TemporaryDirectory(dir=campaign.folder.root, prefix=".preview-") as temporary:
        merged = Checkpoint(output or Path(temporary), newest.iteration)
        say(f"merging {len(checkpoints)} checkpoints of main, {checkpoints[0].iteration:,} to {newest.iteration:,}")
        write_mean(mean, merged)
        spec, length = spec_of(tree.plan), tree.plan.sequence_length
        of_main, of_mean = (
            dict(scored(sets, spec, each.folder, engine="megatron", length=length, limit=limit))
            for each in (newest, merged)  # one after the other: each holds the model in memory
        )
    return [Score(name=name, main=of_main[name]["perplexity"], merged=of_mean[name]["perplexity"]) for name in of_main]
