"""What `lrps run` would refuse of a campaign before any rank starts; `lrps plan` says it first.

Data that are not there yet are no refusal of a plan: people plan before they prepare. Whatever is there is looked at.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.epochs import planned_windows, refuse_repeats
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.pretrained_weights import refuse_missing_weights
from megatron_lrps.campaign.record import state_of
from megatron_lrps.campaign.validation_size import refuse_small_sets
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan, PlannedPath, Tree
from megatron_lrps.plan.cost import ModelSize
from megatron_lrps.plan.data_files import require_data, validation_sets
from megatron_lrps.plan.flags import DEFAULTS, path_flags
from megatron_lrps.plan.keys.tokenizers import TOKENIZERS
from megatron_lrps.plan.parallel_layout import CP, PP, TP, refuse_impossible_layout
from megatron_lrps.storage.disk_space import free_bytes, refuse_no_room, saves_between


def refusals(tree: Tree, ranks: int, size: ModelSize | None) -> list[RefusedError]:
    """All that stands against training the plan, as far as it shows without Megatron and without missing data.

    Args:
        tree: The plan's.
        ranks: The world size that it is to train on.
        size: The model's, where it is known.
    """
    found: list[RefusedError] = []

    def look(check: Callable[[], object]) -> None:
        try:
            check()
        except RefusedError as refusal:
            if str(refusal) not in map(str, found):
                found.append(refusal)

    if tree.plan.folder.is_dir() or tree.plan.main is not None:
        # Imported where something may have been trained, or is adopted: `lrps plan` starts in an instant.
        from megatron_lrps.campaign.accepted_plan import refuse_contradiction
        from megatron_lrps.launch.untrained import unfinished

        look(lambda: refuse_contradiction(tree))
        look(lambda: unfinished(tree, None))
    look(lambda: refuse_impossible_layout(tree.plan, ranks))
    windows = planned_windows(tree)
    for path in to_train(tree):
        look(partial(refuse_bad_data, tree, path, windows, ranks))
    look(lambda: refuse_missing_files(tree.plan))
    look(lambda: refuse_full_disk(tree, size))
    return found


def refuse_wrong_flags(tree: Tree, only: str | None) -> None:
    """Refuse paths that have no Megatron argument line, or the one named; raises PlanError."""
    for path in [tree.path(only)] if only else tree.paths:
        path_flags(tree, path)


def nothing_to_do(tree: Tree, only: str | None) -> str:
    """What to say if all that was asked for is trained."""
    what = f"Path {only} is" if only else f"All {len(tree.paths)} paths of campaign {tree.plan.campaign} are"
    return f"{what} trained; there is nothing to do."


def to_train(tree: Tree) -> list[PlannedPath]:
    """The paths that are not trained to their ends, whatever else is wrong with them."""
    campaign = CampaignFolder(tree.plan.folder)
    return [path for path in tree.paths if not state_of(campaign, path).done]


def refuse_unfit(tree: Tree, missing: Iterable[PlannedPath], ranks: int) -> None:
    """Refuse paths that cannot train: by their layout, or as data, weights or tokenizer are not there or not fit.

    Args:
        tree: The plan's.
        missing: Its paths that are to train.
        ranks: The world size that they train on.

    Raises:
        RefusedError: naming the key, its value and the fix.
    """
    refuse_impossible_layout(tree.plan, ranks)
    paths = list(missing)
    campaign = CampaignFolder(tree.plan.folder)
    for path in paths:
        require_data(tree, path, state_of(campaign, path).saved or path.fork)
        refuse_missing_weights(tree, path)
    tokenizer = tree.plan.tokenizer
    reads = tokenizer is not None and tokenizer.type in TOKENIZERS and tokenizer.type != "null"
    if tokenizer and reads and tokenizer.model and not tokenizer.model.exists():
        raise RefusedError(
            f"tokenizer.model: {tokenizer.model} does not exist.", "correct its path, or let lrps prepare make it."
        )
    windows = planned_windows(tree)
    for path in paths:
        refuse_bad_data(tree, path, windows, ranks)


def refuse_bad_data(tree: Tree, path: PlannedPath, windows: Sequence[Mapping[str, Any]], ranks: int) -> None:
    """Refuse a path that reads its data too often, or validates on too little; what is not there is left out.

    Args:
        tree: The plan's.
        path: One of its.
        windows: From ``planned_windows``.
        ranks: The world size that it trains on.

    Raises:
        RefusedError: naming the data and the limit.
    """
    refuse_repeats(tree, path, windows, state_of(CampaignFolder(tree.plan.folder), path).saved or path.fork)
    there = [Path(f"{prefix}.idx").is_file() for prefix in validation_sets(tree, path).values()]
    replicas = _replicas(tree.plan, ranks)
    if replicas is not None and all(there):
        refuse_small_sets(tree, path, replicas)


def _replicas(plan: Plan, ranks: int) -> int | None:
    """The data-parallel size; None where the plan's sizes are not understood, or do not divide the ranks."""
    sizes = [plan.megatron.get(flag, 1) for flag in (TP, PP, CP)]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    parts = math.prod(int(str(size)) for size in sizes)
    return ranks // parts if ranks % parts == 0 else None


def refuse_full_disk(tree: Tree, size: ModelSize | None) -> None:
    """Refuse the next path's saves where the campaign's folder is here, and they will not fit; raises RefusedError."""
    plan, campaign = tree.plan, CampaignFolder(tree.plan.folder)
    interval = plan.megatron.get("save-interval", DEFAULTS["save-interval"])
    if size is None or not campaign.root.is_dir() or not isinstance(interval, int) or not (paths := to_train(tree)):
        return
    path = paths[0]
    start = state_of(campaign, path).saved or path.fork
    saves = saves_between(start, path.end, interval, tree.fork_points(path.name))
    refuse_no_room(
        campaign.root,
        free=free_bytes(campaign.root),
        saves=saves,
        needed=saves * size.checkpoint_bytes,
        fix=f"make room (lrps gc), raise save-interval, or choose another `save`; it is what path {path.name} writes.",
    )


def refuse_missing_files(plan: Plan) -> None:
    """Refuse a gate that is none, and small files of the plan's own that are not where it says.

    A path into a folder that is neither the plan's nor here is another machine's: that one will see.

    Raises:
        RefusedError: naming the key and the file.
    """
    named = {
        "promote.gate": plan.promote and plan.promote.gate,
        "launch.slurm.site": plan.launch.slurm and plan.launch.slurm.site,
        "evaluate.task_folder": plan.evaluate.task_folder,
    }
    for key, file in named.items():
        if file and not file.exists() and (file.parent.is_dir() or file.is_relative_to(plan.base)):
            raise RefusedError(f"{key}: {file} does not exist.", "correct its path, or make it.")
    if plan.promote and plan.promote.gate and plan.promote.gate.exists():
        from megatron_lrps.plan.gate import read_gate_file

        read_gate_file(plan.promote.gate)
