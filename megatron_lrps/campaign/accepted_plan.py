"""Accepting a plan: a running campaign's plan may grow, but may not change what has been trained.

``past.py`` compares the trained past with a new plan.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.adopted_run import changed_adoption
from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoints
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.past import Named, Past, PastPath, PastWindow
from megatron_lrps.campaign.past_arguments import RESTORE, Change, may_be_allowed
from megatron_lrps.campaign.trained_data import TrainedData, index_content, tokenizer_content
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import Plan, PlannedPath, Tree, plan_text
from megatron_lrps.plan.branch_length import rotary_flags_of
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.keys.flag_values import FlagValue
from megatron_lrps.plan.megatron_arguments import arguments, given
from megatron_lrps.storage.files import write_atomic


def accept(campaign: Campaign, allow: Sequence[str] = ()) -> None:
    """Accept a campaign's plan after comparing it with the one accepted before.

    Args:
        campaign: The campaign of the plan.
        allow: Destinations of Megatron's arguments that may differ (``--lrps-allow``).

    Raises:
        RefusedError: if it changes what has been trained, naming the key and both values.
        StorageError: if plan.yaml cannot be written.
    """
    if refuse_contradiction(campaign, allow):
        write_atomic(campaign.folder.plan, _accepted_text(campaign.tree))


def refuse_contradiction(campaign: Campaign, allow: Sequence[str] = ()) -> bool:
    """Compare a plan with the accepted one; write nothing. Arguments and errors as ``accept``, without StorageError.

    Returns:
        Whether the plans differ.
    """
    accepted = campaign.with_accepted().accepted
    if accepted is not None:
        if _accepted_text(accepted) == _accepted_text(campaign.tree):
            return False
        trained = {path.name: _trained(campaign.folder, path) for path in accepted.paths}
        refuse_changed_past(accepted, campaign.tree, trained, allow)
    return True


def _accepted_text(tree: Tree) -> str:
    return plan_text(tree.plan, inside=tree.plan.folder)


def _trained(folder: CampaignFolder, path: PlannedPath) -> int:
    """Return the iteration a path has been trained to; its fork if it has trained nothing itself."""
    newest = Checkpoints.in_folder(folder.path(path.name).checkpoints).newest
    return path.fork if newest is None else newest


def refuse_changed_past(old: Tree, new: Tree, trained: Mapping[str, int], allow: Sequence[str] = ()) -> None:
    """Refuse a plan that contradicts what has been trained.

    Args:
        old: The accepted plan's tree.
        new: The plan to be accepted.
        trained: Path of ``old`` -> the iteration it has been trained to.
        allow: Destinations of Megatron's arguments that may differ.

    Raises:
        RefusedError: naming the key, both values and the fix.
    """
    begun = {path.name: trained[path.name] for path in old.paths if trained[path.name] > path.fork}
    if not begun:
        return
    past, now = _past_of(old, begun, TrainedData(old)), _past_of(new, dict.fromkeys(new.by_name, 0))
    for change in past.changes(now, allow):
        raise _refusal(change, old.plan, new.plan)
    for window in [*past.trained_windows()][len(now.windows) :]:
        key = f"versions.{window.version}"
        raise _refusal(Change(key=key, then="it", now="nothing of it"), old.plan, new.plan)
    if adoption := changed_adoption(old.plan, new.plan):
        raise _refusal(adoption, old.plan, new.plan)


def _past_of(tree: Tree, trained: Mapping[str, int], data: TrainedData | None = None) -> Past:
    """Return the trained past according to a plan.

    Args:
        tree: The plan's tree.
        trained: Path -> the iteration it has been trained to; missing paths have trained nothing.
        data: The recorded content of its data.
    """
    plan = tree.plan

    def named(prefix: Path, recorded: Mapping[str, Any] | None) -> Named:
        return Named(place=prefix, read=index_content, recorded=recorded)

    return Past(
        values=_shared(plan),
        batches=tree.batches,
        arguments=given(_identity_flags(plan)),
        tokenizer=Named(
            place=plan.tokenizer.model if plan.tokenizer else None,
            read=tokenizer_content,
            recorded=data.tokenizer if data else None,
        ),
        windows=[
            PastWindow(
                version=version.name,
                iterations=iterations,
                replay=version.replay or "none",
                data=[
                    (weight, named(prefix, data.index(version.name, number) if data else None))
                    for number, (weight, prefix) in enumerate(version.train)
                ],
            )
            for version, iterations in ((window.version, window.iterations) for window in tree.windows)
        ],
        # A branch with a blend of its own has read no window itself.
        trained=max(tree.path(name).fork if tree.path(name).blend else until for name, until in trained.items()),
        paths={
            f"path {path.name}": PastPath(
                schedule=path.schedule,
                until=trained[path.name],
                batches=tree.batches,
                # Main just stops at its last fork point: training past it changes no version.
                end=None if path.kind == "main" else path.end,
                values={
                    "checkpoints it is made of": path.parts_words or None,
                    **{key: getattr(path, key) for key in ("parent", "fork")},
                    **_data_values(tree, path),
                    # A mixed order is drawn over the whole length.
                    "end of its mixed data": path.end if path.order == "mixed" else None,
                },
            )
            for path in tree.paths
            if path.name in trained
        },
        blends={
            f"path {path.name}, branch.data": [
                (weight, named(prefix, data.blended(path.name, number) if data else None))
                for number, (weight, prefix) in enumerate(path.blend)
            ]
            for path in tree.paths
            if path.name in trained and path.blend
        },
    )


def _data_values(tree: Tree, path: PlannedPath) -> dict[str, object]:
    """Return what decides the samples of a path: its order, or for a branch the keys of ``branch``."""
    if path.kind != "branch":
        return {"order": path.order}
    return {
        "branch.data": {"chained": "window", "blend": "a blend"}.get(path.order, path.order),
        "branch.sequence_length": tree.plan_of(path).sequence_length,
        "branch.megatron": rotary_flags_of(tree.plan, path.branch_of),
    }


def _refusal(change: Change, old: Plan, new: Plan) -> RefusedError:
    """Return the error for a plan that changes the past."""
    key, then, now, otherwise = change.key, change.then, change.now, ""
    if (name := change.argument) is not None:
        argument = arguments()[name]
        said = [_identity_flags(plan) for plan in (old, new)]
        flag = next((each for each in argument.flags if any(each in flags for flags in said)), argument.flags[0])
        unset = False if argument.kind == "switch" else argument.default
        then, now = (f"{flags[flag]}" if flag in flags else f"{unset} (Megatron's default)" for flags in said)
        key, otherwise = f"megatron.{flag}", f" (or give the ranks --lrps-allow {name})" if may_be_allowed(name) else ""
    fix = RESTORE if change.argument else change.fix
    branches = {f"path {version.name}, branch": version.name for version in new.versions}
    if (name := branches.get(key.rpartition(".")[0])) is not None:
        fix = f"{fix} (under versions.{name}.branch, where only later branches are to read something else)"
    return RefusedError(
        f"{key}: {then} has been trained, the plan now says {now}.",
        f"{fix}, or start a campaign with another `save`{otherwise}.",
    )


def _identity_flags(plan: Plan) -> dict[str, FlagValue]:
    """Return the plan's ``megatron:`` flags, with the implied values of flags that it does not set."""
    cpu = CPU_FLAGS if plan.launch.device == "cpu" else {}
    return {"max-position-embeddings": plan.sequence_length, **cpu, **plan.megatron}


def _shared(plan: Plan) -> dict[str, object]:
    """Return the values that all paths of a plan share, by key."""
    tokenizer = plan.tokenizer
    return {
        "sequence_length": plan.sequence_length,
        **{f"lr.{key}": value for key, value in plan.lr.model_dump().items()},
        "main.iteration": plan.main and plan.main.iteration,
        # Neither `model` nor `train`: the content of the model file counts.
        **{
            f"tokenizer.{key}": tokenizer and getattr(tokenizer, key)
            for key in ("type", "vocab_size", "pattern", "num_special_tokens", "special_tokens")
        },
    }
