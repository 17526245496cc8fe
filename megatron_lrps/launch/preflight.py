"""Checks before a run, so that no rank starts and no job is queued in vain.

`lrps plan` shows all refusals (``refusals``), and `lrps run` and `lrps submit` exit with 78 (``refuse_unfit``). `lrps
plan` accepts data that do not exist yet, because people plan before they prepare, and checks what does exist.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.epochs import planned_data, planned_windows, refuse_repeats
from megatron_lrps.campaign.resharding import SAVED_BY, refuse_lossy_saves
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.campaign.start_point import refuse_missing_weights
from megatron_lrps.campaign.validation_size import refuse_small_sets
from megatron_lrps.errors import RefusedError
from megatron_lrps.launch.ft_launcher import refuse_without_ft_launcher
from megatron_lrps.plan import Plan, PlannedPath
from megatron_lrps.plan.async_saves import MCORE, NVRX, installed, needs_nvrx, refuse_without_nvrx
from megatron_lrps.plan.cost import ModelSize
from megatron_lrps.plan.data_files import require_data, validation_sets
from megatron_lrps.plan.entry_flags import refuse_unfit_for_entry
from megatron_lrps.plan.flags import DEFAULTS, path_flags
from megatron_lrps.plan.keys.tokenizers import TOKENIZERS
from megatron_lrps.plan.optional_packages import refuse_missing_packages
from megatron_lrps.plan.parallel_layout import CP, PP, TP, refuse_impossible_layout
from megatron_lrps.plan.save_memory import refuse_small_memory
from megatron_lrps.storage.disk_space import free_bytes, refuse_no_room, saves_between


def refusals(campaign: Campaign, ranks: int, size: ModelSize | None) -> list[RefusedError]:
    """Return all reasons not to train a campaign that are known without Megatron and without missing data.

    Args:
        campaign: The campaign.
        ranks: The world size that it is to train on.
        size: The size of the model, or None if it is not known.
    """
    tree = campaign.tree
    found: list[RefusedError] = []

    def look(check: Callable[[], object]) -> None:
        try:
            check()
        except RefusedError as refusal:
            if str(refusal) not in map(str, found):
                found.append(refusal)

    if tree.plan.folder.is_dir() or tree.plan.main is not None:
        # Imported only if something may have been trained or is adopted, because `lrps plan` must start at once.
        from megatron_lrps.campaign.accepted_plan import refuse_contradiction
        from megatron_lrps.launch.untrained import paths_to_train

        look(lambda: refuse_contradiction(campaign))
        look(lambda: paths_to_train(campaign, None))
    for path in tree.paths:
        look(partial(refuse_impossible_layout, tree.plan_of(path), ranks))
    look(lambda: refuse_unfit_for_entry(tree.plan))
    look(lambda: refuse_unfit_libraries(tree.plan))
    windows = planned_windows(tree)
    for path in _untrained(campaign):
        look(partial(refuse_bad_data, campaign, path, windows, ranks))
    look(lambda: refuse_missing_files(tree.plan))
    look(lambda: refuse_full_disk(campaign, size))
    look(lambda: refuse_small_memory(tree.plan, size))
    return found


def _untrained(campaign: Campaign) -> list[PlannedPath]:
    return [path for path in campaign.paths if not path.mean and not standing_of(campaign, path).done]


def refuse_wrong_flags(campaign: Campaign, only: str | None) -> None:
    """Refuse paths, or the one named, for which no Megatron argument line can be made; raises PlanError."""
    for path in [campaign.path(only)] if only else campaign.paths:
        path_flags(campaign.tree, path)


def nothing_to_do(campaign: Campaign, only: str | None) -> str:
    """Return the message for a request that is already trained."""
    what = f"Path {only} is" if only else f"All {len(campaign.paths)} paths of campaign {campaign.plan.campaign} are"
    return f"{what} trained; there is nothing to do."


def refuse_unfit(campaign: Campaign, paths: Sequence[PlannedPath], ranks: int) -> None:
    """Refuse paths that cannot train: their layout is impossible, or data, weights or tokenizer are missing or unfit.

    Args:
        campaign: The campaign.
        paths: Its paths that are to train.
        ranks: The world size that they train on.

    Raises:
        RefusedError: naming the key, its value and the fix.
    """
    tree = campaign.tree
    refuse_unfit_for_entry(tree.plan)
    refuse_unfit_libraries(tree.plan)
    trained = [path for path in paths if not path.mean]
    for path in trained:
        refuse_impossible_layout(tree.plan_of(path), ranks)
        require_data(tree, path, _position(campaign, path))
        refuse_missing_weights(campaign, path)
    tokenizer = tree.plan.tokenizer
    reads = tokenizer is not None and tokenizer.type in TOKENIZERS and tokenizer.type != "null"
    if tokenizer and reads and tokenizer.model and not tokenizer.model.exists():
        raise RefusedError(
            f"tokenizer.model: {tokenizer.model} does not exist.", "correct its path, or let lrps prepare make it."
        )
    windows = planned_windows(tree)
    for path in trained:
        refuse_bad_data(campaign, path, windows, ranks)


def refuse_unfit_libraries(plan: Plan) -> None:
    """Refuse what this machine's Megatron saves damaged, libraries that it lacks, and trackers without their packages.

    A machine without Megatron, such as a login node, does not say what the ranks will have, and they refuse themselves.
    """
    here = plan.launch.slurm is None or plan.launch.slurm.container is None
    if here and (megatron := installed(MCORE)) is not None:
        flags = {flag.replace("-", "_"): value for flag, value in plan.megatron.items()}
        refuse_lossy_saves({**flags, SAVED_BY: megatron})
        refuse_missing_packages(plan, "this machine")
        if needs_nvrx(plan.megatron):
            refuse_without_nvrx(plan.megatron, megatron, installed(NVRX))
        refuse_without_ft_launcher(plan)


def _position(campaign: Campaign, path: PlannedPath) -> int:
    """Return the iteration that a path continues from."""
    return standing_of(campaign, path).position


def refuse_bad_data(campaign: Campaign, path: PlannedPath, windows: Sequence[Mapping[str, Any]], ranks: int) -> None:
    """Refuse a path that reads its data too often or validates on too few; data that do not exist are left out.

    Args:
        campaign: The campaign.
        path: One of its paths.
        windows: The result of ``planned_windows``.
        ranks: The world size that it trains on.

    Raises:
        RefusedError: naming the data and the limit.
    """
    tree = campaign.tree
    refuse_repeats(tree, path, planned_data(tree, path, windows), _position(campaign, path))
    there = [Path(f"{prefix}.idx").is_file() for prefix in validation_sets(tree, path).values()]
    replicas = _replicas(tree.plan_of(path), ranks)
    if replicas is not None and all(there):
        refuse_small_sets(tree, path, replicas)


def _replicas(plan: Plan, ranks: int) -> int | None:
    """Return the data-parallel size; None if the plan's parallel sizes are not numbers or do not divide the ranks."""
    sizes = [plan.megatron.get(flag, 1) for flag in (TP, PP, CP)]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return None
    parts = math.prod(int(str(size)) for size in sizes)
    return ranks // parts if ranks % parts == 0 else None


def refuse_full_disk(campaign: Campaign, size: ModelSize | None) -> None:
    """Refuse a disk that has no room for the saves of the next path, if it is here; raises RefusedError."""
    root = campaign.folder.root
    interval = campaign.plan.megatron.get("save-interval", DEFAULTS["save-interval"])
    if size is None or not root.is_dir() or not isinstance(interval, int) or not (paths := _untrained(campaign)):
        return
    path = paths[0]
    saves = saves_between(_position(campaign, path), path.end, interval, campaign.tree.needed_saves(path.name))
    refuse_no_room(
        root,
        free=free_bytes(root),
        saves=saves,
        needed=saves * size.checkpoint_bytes,
        fix=f"make room (lrps gc), raise save-interval or choose another `save`, because path {path.name} writes that.",
    )


def refuse_missing_files(plan: Plan) -> None:
    """Refuse a gate file that is wrong, and small files that the plan names but that do not exist.

    Files in a folder that is neither the plan's nor on this machine are not refused: the machine that has the folder
    checks them.

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
